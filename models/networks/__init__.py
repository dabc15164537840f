"""What is computed: backbone, heads, anchors, boxes, and the quantized layers."""
