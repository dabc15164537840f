"""The .tflite: export, running and inspecting it, comparing it with its network."""
