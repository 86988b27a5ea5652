"""Globals that the pickles of training scripts name beside the weights.

Plain values, and the settings and states of common libraries. They are passed
over: reading a name, a call or a state makes nothing of it, see `inert_pickle`.
What is not listed ends the reading, so that a file that was made to run
something is named as such and not taken for a model.
"""


def _of(modules: str, names: str) -> set[tuple[str, str]]:
  """All pairs of modules and names, each a list in words."""
  return {(m, name) for m in modules.split() for name in names.split()}


NAMES = frozenset(
  _of("argparse", "Namespace")
  | _of("types", "SimpleNamespace")
  | _of("torch", "Size device bool Generator Tensor")
  | _of("torch", "float16 bfloat16 float32 float64")
  | _of("torch", "uint8 int8 int16 int32 int64 complex64")
  | _of("torch", "ComplexFloatStorage ComplexDoubleStorage UntypedStorage")
  | _of("torch.nn.parameter", "Parameter")
  | _of(
    "torch._utils",
    "_rebuild_sparse_tensor _rebuild_qtensor _rebuild_meta_tensor_no_storage",
  )
  | _of("collections", "defaultdict deque Counter")
  | _of("_codecs", "encode")
  | _of("numpy", "dtype ndarray")
  | _of("numpy.core.multiarray numpy._core.multiarray", "scalar _reconstruct")
  | _of("numpy.core.numeric numpy._core.numeric", "_frombuffer")
  | _of(
    "numpy.random._pickle",
    "__randomstate_ctor __generator_ctor __bit_generator_ctor",
  )
  | _of(
    "numpy.random.bit_generator", "SeedSequence __pyx_unpickle_SeedSequence"
  )
  | _of("numpy.random._mt19937", "MT19937")
  | _of("numpy.random._pcg64", "PCG64")
  | _of(
    "builtins __builtin__",
    "set frozenset list tuple dict slice range bool int long float complex "
    "str bytearray",
  )
  | _of(
    "pathlib pathlib._local",
    "PosixPath PurePosixPath WindowsPath PureWindowsPath",
  )
  | _of("datetime", "datetime date time timedelta timezone")
  | _of("decimal", "Decimal")
  | _of("fractions", "Fraction")
  | _of("uuid", "UUID")
  | _of("typing", "Any")
  # DeepSpeed's own state.
  | _of("deepspeed.runtime.fp16.loss_scaler", "LossScaler DynamicLossScaler")
  | _of("deepspeed.runtime.zero.config", "ZeroStageEnum")
  | _of("deepspeed.utils.tensor_fragment", "fragment_address")
  # Settings, as Lightning, hydra and others keep them.
  | _of(
    "pytorch_lightning.utilities.parsing lightning.pytorch.utilities.parsing "
    "lightning_fabric.utilities.data lightning.fabric.utilities.data",
    "AttributeDict",
  )
  | _of("omegaconf.dictconfig", "DictConfig")
  | _of("omegaconf.listconfig", "ListConfig")
  | _of("omegaconf.base", "Metadata ContainerMetadata")
  | _of(
    "omegaconf.nodes",
    "AnyNode StringNode IntegerNode FloatNode BooleanNode PathNode BytesNode",
  )
  | _of("yacs.config fvcore.common.config", "CfgNode")
  | _of("ml_collections.config_dict.config_dict", "ConfigDict")
  | _of("mmcv.utils.config mmengine.config.config", "Config ConfigDict")
  | _of("addict.addict", "Dict")
  | _of("easydict", "EasyDict")
)
