"""TensorFlow for tf.data and storage, imported without Keras.

TensorFlow's last act when it is imported is to load Keras, which loads
scikit-learn and SciPy: half of the import's time, for optimizers that nothing
here has. It does without where Keras is not installed, and is told so for as
long as it looks. Whoever wants Keras imports it afterwards as ever.
"""

import sys


def _load():
  if "tensorflow" in sys.modules or "keras" in sys.modules:
    import tensorflow

    return tensorflow
  sys.modules["keras"] = None  # what Python takes for "there is no such module"
  try:
    import tensorflow
  finally:
    del sys.modules["keras"]
  return tensorflow


tf = _load()
