"""From a trained network to a judged and published .tflite."""
