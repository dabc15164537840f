"""The computation: backbones, heads, anchors, box coder, and the quantized layers."""
