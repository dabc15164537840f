"""The detector alone: a small detection library on Keras 3. It knows neither TFX nor Beam."""
