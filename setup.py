"""Which folders `pip install .` takes; all else is in pyproject.toml.

`configs/` lies at the top of the tree, where people look for it, and becomes
`sigma_jax/configs` when installed: a top-level package of that name would be
another project's as well.
"""

import setuptools

setuptools.setup(
  packages=[
    *setuptools.find_packages(include=["sigma_jax", "sigma_jax.*"]),
    "sigma_jax.configs",
    *(
      f"sigma_jax.configs.{folder}"
      for folder in setuptools.find_namespace_packages("configs")
      if "__pycache__" not in folder
    ),
  ],
  package_dir={"sigma_jax.configs": "configs"},
)
