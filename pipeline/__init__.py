"""The TFX pipeline: components, modules, configuration, presets."""
