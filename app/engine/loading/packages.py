"""Packages that hold no networks: whatever a checkpoint names of them, it is no layer and no class of its user.

Most come along with torch, torchvision, timm or a trainer, so that whoever loads a checkpoint is likely to have them.
Each has something that runs text, a file or a call for whom asks, or that asks when it goes: a progress bar that is
dropped writes its last line to whatever it was told to, a lock removes its file.
"""

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Final

# Python 2's names too: a loader translates them (`__builtin__`, `commands`, `urllib2`); and what was removed since.
STANDARD: Final = frozenset(
    {
        *sys.stdlib_module_names,
        *(name.partition(".")[0] for name in IMPORT_MAPPING),
        *(module.partition(".")[0] for module, _ in NAME_MAPPING),
        *("asynchat", "asyncore", "cgi", "cgitb", "commands", "crypt", "distutils", "imp", "lib2to3", "mailcap"),
        *("new", "nntplib", "nt", "os2", "pipes", "popen2", "posix", "rexec", "smtpd", "sre", "telnetlib", "test"),
        *("compiler", "user", "imputil", "ihooks", "bastion", "sndhdr", "uu", "xdrlib", "msilib", "_winapi", "msvcrt"),
    }
)
_INSTALLERS: Final = (
    *("pip", "setuptools", "pkg_resources", "wheel", "virtualenv", "_distutils_hack", "pytest", "_pytest", "nose"),
    *("packaging", "distlib", "platformdirs", "pluggy", "iniconfig", "hatchling", "poetry", "conda", "cython"),
    *("Cython", "pyximport", "pybind11", "cppyy", "pythran", "coverage", "hypothesis", "mypy", "pylint", "jedi"),
    *("site", "sitecustomize", "usercustomize", "exceptiongroup", "importlib_metadata", "importlib_resources", "zipp"),
    *("typing_extensions", "pyreadline3", "backports", "pycparser", "cffi", "pathspec", "trove_classifiers"),
)
_CONSOLES: Final = (
    *("IPython", "ipykernel", "jupyter_client", "jupyter_core", "notebook", "ipywidgets", "traitlets", "pexpect"),
    *("ptyprocess", "sh", "plumbum", "invoke", "fabric", "paramiko", "asyncssh", "psutil", "docker", "git", "gitdb"),
    *("click", "typer", "rich", "rich_click", "fire", "termcolor", "colorama", "prompt_toolkit", "pygments", "tqdm"),
    *("loguru", "structlog", "humanfriendly", "coloredlogs", "tabulate", "alive_progress", "progressbar", "rpyc"),
    *("shellingham", "markdown_it", "mdurl", "watchdog", "apscheduler", "sshtunnel", "pyautogui"),
)
_PICKLERS: Final = (
    *("dill", "cloudpickle", "joblib", "jsonpickle", "yaml", "_yaml", "ruamel", "msgpack", "srsly"),
    *("six", "future", "past", "gevent", "eventlet", "greenlet", "multiprocess", "billiard", "pathos", "ppft"),
    *("wrapt", "cachetools", "diskcache", "filelock", "portalocker", "fasteners", "lockfile"),
    *("attr", "attrs", "pydantic", "pydantic_core", "marshmallow", "cattrs", "toolz", "cytoolz", "lazy_loader"),
    *("RestrictedPython", "asteval", "simpleeval", "lark", "ply", "pyparsing", "stack_data"),
)
_MATHEMATICS: Final = (
    *("numexpr", "sympy", "mpmath", "gmpy2", "networkx", "pandas", "polars", "pyarrow", "numba", "llvmlite", "triton"),
    *("h5py", "zarr", "numcodecs", "bottleneck"),
    *("matplotlib", "mpl_toolkits", "seaborn", "plotly", "bokeh", "pylab", "cupy", "jax", "jaxlib"),
    *("tensorflow", "keras", "PIL", "cv2", "imageio", "imageio_ffmpeg", "tifffile", "decord", "moviepy", "numpy"),
    *("contourpy", "fontTools", "kiwisolver", "cycler", "lmdb", "nltk"),
    *("onnx", "onnx_ir", "onnxruntime", "onnxscript", "onnxsim", "onnxslim", "onnxoptimizer", "tensorrt", "openvino"),
    *("functorch", "nvidia", "isympy", "thop", "ml_dtypes", "optree", "pynvml", "pycuda", "torchgen"),
    *("google", "grpc", "flatbuffers"),
)
_NETWORKS_OF_COMPUTERS: Final = (
    *("requests", "urllib3", "httpx", "httpcore", "aiohttp", "httplib2", "tornado", "twisted", "werkzeug", "flask"),
    *("django", "fastapi", "starlette", "uvicorn", "gunicorn", "anyio", "trio", "h11", "h2", "websocket", "websockets"),
    *("httpx2", "httpcore2", "certifi", "idna", "charset_normalizer", "chardet", "truststore"),
    *("huggingface_hub", "hf_xet", "safetensors"),
    *("boto3", "botocore", "s3fs", "gcsfs", "fsspec", "smart_open", "gdown", "kagglehub", "modelscope"),
    *("celery", "ray", "dask", "distributed", "redis", "pymongo", "psycopg2", "sqlalchemy", "peewee", "zmq", "kombu"),
    *("wandb", "mlflow", "clearml", "comet_ml", "neptune", "tensorboard", "tensorboardX", "sentry_sdk", "gradio"),
    *("jinja2", "mako", "markupsafe", "bs4", "lxml", "streamlit", "visdom", "optuna", "sacred", "submitit"),
    *("win32", "win32api", "win32com", "win32process", "pythoncom", "pywintypes", "py"),
)
TOOLS: Final = frozenset(
    {*_INSTALLERS, *_CONSOLES, *_PICKLERS, *_MATHEMATICS, *_NETWORKS_OF_COMPUTERS},
)
