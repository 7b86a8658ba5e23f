"""Functions that do something when a pickle calls them, each with arguments by which its canary appears."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpus import assemble as a
from tests.hostile.corpus.assemble import Ops, calls, name
from tests.hostile.corpus.case import Recipe

Operations = Callable[[Path], bytes]


def _opens(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def _touch(canary: Path) -> list[str]:
    return ["touch", str(canary)]


def _path(canary: Path) -> Ops:
    return Ops(calls("pathlib.PosixPath", str(canary)))


def _nested(canary: Path) -> bytes:
    return a.whole(calls("os.system", f"touch {canary}"))


def _torch_nested(canary: Path) -> bytes:
    return a.instead_of_model(calls("os.system", f"touch {canary}"))


# Paths, and the arguments for a canary. Those in the first table do it at once, in every Python that is current.
RUN_AT_ONCE: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "os.system": lambda c: (f"touch {c}",),
    "posix.system": lambda c: (f"touch {c}",),
    "os.mkdir": lambda c: (str(c),),
    "os.makedirs": lambda c: (str(c),),
    "os.mkfifo": lambda c: (str(c),),
    "os.symlink": lambda c: ("/dev/null", str(c)),
    "os.open": lambda c: (str(c), 0o101),
    "os.mknod": lambda c: (str(c),),
    "os.spawnlp": lambda c: (0, "touch", "touch", str(c)),
    "os.spawnvp": lambda c: (0, "touch", _touch(c)),
    "os.posix_spawnp": lambda c: ("touch", _touch(c), {"PATH": "/usr/bin:/bin"}),
    "posix.mkdir": lambda c: (str(c),),
    "subprocess.call": lambda c: (_touch(c),),
    "subprocess.run": lambda c: (_touch(c),),
    "subprocess.check_call": lambda c: (_touch(c),),
    "subprocess.check_output": lambda c: (_touch(c),),
    "subprocess.getoutput": lambda c: (f"touch {c}",),
    "subprocess.getstatusoutput": lambda c: (f"touch {c}",),
    "commands.getoutput": lambda c: (f"touch {c}",),
    "builtins.eval": lambda c: (_opens(c),),
    "builtins.exec": lambda c: (_opens(c),),
    "__builtin__.eval": lambda c: (_opens(c),),
    "builtins.open": lambda c: (str(c), "w"),
    "io.open": lambda c: (str(c), "w"),
    "_io.open": lambda c: (str(c), "w"),
    "_pyio.open": lambda c: (str(c), "w"),
    "io.FileIO": lambda c: (str(c), "w"),
    "codecs.open": lambda c: (str(c), "w"),
    "gzip.open": lambda c: (str(c), "wb"),
    "bz2.open": lambda c: (str(c), "wb"),
    "lzma.open": lambda c: (str(c), "wb"),
    "zipfile.ZipFile": lambda c: (str(c), "w"),
    "tarfile.open": lambda c: (str(c), "w"),
    "wave.open": lambda c: (str(c), "wb"),
    "mailbox.Maildir": lambda c: (str(c),),
    "shelve.open": lambda c: (str(c),),
    "dbm.dumb.open": lambda c: (str(c), "n"),
    "logging.FileHandler": lambda c: (str(c),),
    "logging.handlers.RotatingFileHandler": lambda c: (str(c),),
    "shutil.copyfile": lambda c: ("/etc/hostname", str(c)),
    "shutil.copy": lambda c: ("/etc/hostname", str(c)),
    "shutil.copy2": lambda c: ("/etc/hostname", str(c)),
    "pty.spawn": lambda c: (_touch(c),),
    "timeit.timeit": lambda c: ("0", _opens(c), Ops(name("time", "perf_counter")), 1),
    "timeit.repeat": lambda c: ("0", _opens(c), Ops(name("time", "perf_counter")), 1, 1),
    "cProfile.run": lambda c: (_opens(c),),
    "profile.run": lambda c: (_opens(c),),
    "pdb.run": lambda c: (_opens(c),),
    "bdb.Bdb.run": lambda c: (),
    "code.interact": lambda c: (),
    "runpy._run_module_code": lambda c: (_opens(c),),
    "pydoc.pipepager": lambda c: ("x", f"touch {c}"),
    "distutils.spawn.spawn": lambda c: (_touch(c),),
    "distutils.file_util.write_file": lambda c: (str(c), ["x"]),
    "distutils.dir_util.mkpath": lambda c: (str(c),),
    "multiprocessing.util.spawnv_passfds": lambda c: ("/usr/bin/touch", [b"touch", str(c).encode()], ()),
    "ctypes.CDLL": lambda c: (None,),
    "pickle.loads": lambda c: (_nested(c),),
    "_pickle.loads": lambda c: (_nested(c),),
    "cPickle.loads": lambda c: (_nested(c),),
    "lib2to3.pgen2.grammar.Grammar": lambda c: (),
    "torch.storage._load_from_bytes": lambda c: (_torch_nested(c),),
    "torch.from_file": lambda c: (str(c), True, 1),
    "torch.save": lambda c: (1, str(c)),
    "torch.jit.load": lambda c: (str(c),),
    "torch.hub.load": lambda c: (str(c), "x"),
    "torch.hub._hub_dir": lambda c: (),
    "torch.utils.cpp_extension.load": lambda c: ("x", [str(c)]),
    "torch.ops.load_library": lambda c: (str(c),),
    "torch._dynamo.utils.import_submodule": lambda c: ("antigravity",),
    "numpy.save": lambda c: (str(c) + ".npy", [1]),
    "numpy.savetxt": lambda c: (str(c), [1]),
    "numpy.memmap": lambda c: (str(c), "uint8", "w+", 0, (1,)),
    "numpy.load": lambda c: (str(c), None, True),
    "numpy.frombuffer": lambda c: (b"1234",),
    "numpy.core.numeric._frombuffer": lambda c: (b"1234", "u1", (4,), "C"),
    "numpy.testing._private.utils.runstring": lambda c: (_opens(c), {}),
    "numpy.f2py.crackfortran.myeval": lambda c: (_opens(c), {}, {}),
    "importlib.import_module": lambda c: ("antigravity",),
    "builtins.__import__": lambda c: ("this",),
    "builtins.compile": lambda c: (_opens(c), "x", "exec"),
    "builtins.breakpoint": lambda c: (),
    "builtins.input": lambda c: ("?",),
    "builtins.exit": lambda c: (0,),
    "builtins.vars": lambda c: (),
    "builtins.globals": lambda c: (),
    "builtins.setattr": lambda c: (Ops(name("torch", "nn")), "Conv2d", None),
    "builtins.delattr": lambda c: (Ops(name("torch", "nn")), "Conv2d"),
    "builtins.print": lambda c: ("hello",),
    "builtins.type": lambda c: ("X", (), {}),
    "builtins.map": lambda c: (Ops(name("os", "system")), [f"touch {c}"]),
    "builtins.filter": lambda c: (Ops(name("os", "system")), [f"touch {c}"]),
    "sys.exit": lambda c: (0,),
    "sys.settrace": lambda c: (None,),
    "sys.setrecursionlimit": lambda c: (10,),
    "os.abort": lambda c: (),
    "os._exit": lambda c: (0,),
    "os.kill": lambda c: (1, 0),
    "os.putenv": lambda c: ("A", "b"),
    "os.chmod": lambda c: ("/", 0o777),
    "os.remove": lambda c: (str(c),),
    "os.execvp": lambda c: ("touch", _touch(c)),
    "shutil.rmtree": lambda c: (str(c),),
    "signal.alarm": lambda c: (1,),
    "signal.raise_signal": lambda c: (9,),
    "socket.create_connection": lambda c: (("127.0.0.1", 9),),
    "urllib.request.urlopen": lambda c: ("http://127.0.0.1:9/",),
    "urllib2.urlopen": lambda c: ("http://127.0.0.1:9/",),
    "http.client.HTTPConnection": lambda c: ("127.0.0.1", 9),
    "ftplib.FTP": lambda c: ("127.0.0.1",),
    "smtplib.SMTP": lambda c: ("127.0.0.1", 9),
    "webbrowser.open": lambda c: ("http://127.0.0.1:9/",),
    "requests.get": lambda c: ("http://127.0.0.1:9/",),
    "asyncio.run": lambda c: (None,),
    "threading.Timer": lambda c: (1, Ops(name("os", "abort"))),
    "multiprocessing.Process": lambda c: (None, Ops(name("os", "abort"))),
    "concurrent.futures.ProcessPoolExecutor": lambda c: (),
    "weakref.finalize": lambda c: (Ops(name("torch", "nn")), Ops(name("os", "system")), f"touch {c}"),
    "atexit.register": lambda c: (Ops(name("os", "system")), f"touch {c}"),
    "functools.partial": lambda c: (Ops(name("os", "system")), f"touch {c}"),
    "functools.reduce": lambda c: (Ops(name("os", "mkdir")), [str(c), 0o777]),
    "functools.lru_cache": lambda c: (1,),
    "operator.attrgetter": lambda c: ("system",),
    "operator.itemgetter": lambda c: (0,),
    "operator.methodcaller": lambda c: ("system", "true"),
    "operator.add": lambda c: (1, 2),
    "_operator.concat": lambda c: ("a", "b"),
    "itertools.starmap": lambda c: (Ops(name("os", "system")), [("true",)]),
    "types.FunctionType": lambda c: (None, {}),
    "types.CodeType": lambda c: (),
    "types.ModuleType": lambda c: ("evil",),
    "marshal.loads": lambda c: (b"N",),
    "collections.namedtuple": lambda c: ("X", "a"),
    "inspect.getattr_static": lambda c: (1, "real"),
    "linecache.getlines": lambda c: ("/etc/passwd",),
    "glob.glob": lambda c: ("/*",),
    "platform.popen": lambda c: (f"touch {c}",),
    "nt.system": lambda c: ("calc",),
    "pip.main": lambda c: (["install", "x"],),
    "pip._internal.cli.main.main": lambda c: (["install", "x"],),
    "setuptools.sandbox.run_setup": lambda c: (str(c), []),
    "venv.create": lambda c: (str(c),),
    "ensurepip.bootstrap": lambda c: (),
    "doctest.debug_script": lambda c: (_opens(c),),
    "trace.Trace": lambda c: (),
    "idlelib.pyshell.main": lambda c: (),
    "tempfile.mkstemp": lambda c: (".x", "y", str(c.parent)),
    "tempfile.NamedTemporaryFile": lambda c: ("w",),
    "sqlite3.connect": lambda c: (":memory:",),
    "xmlrpc.client.ServerProxy": lambda c: ("http://127.0.0.1:9/",),
    "yaml.unsafe_load": lambda c: ("!!python/object/apply:os.abort []",),
    "pandas.read_pickle": lambda c: (str(c),),
    "joblib.load": lambda c: (str(c),),
    "dill.loads": lambda c: (_nested(c),),
    "cloudpickle.loads": lambda c: (_nested(c),),
    "sympy.sympify": lambda c: (_opens(c),),
    "my_package.helpers.run": lambda c: ("anything",),
    "torch._inductor.codecache.compile_file": lambda c: (str(c), str(c), "x"),
    "torch.distributed.run.main": lambda c: ([],),
    "torch.multiprocessing.spawn": lambda c: (Ops(name("os", "abort")),),
    "torch.fx.graph_module.reduce_graph_module": lambda c: (
        {"_code": f"def forward(self):\n    {_opens(c)}\n", "_graphmodule_cls_name": "X"},
        "import torch\n" + _opens(c),
    ),
    "torch_utils.persistence._reconstruct_persistent_obj": lambda c: ({"module_src": _opens(c)},),
}
# Those of them that need no package beside torch and do it within the call.
_QUIET = {
    *("bdb.Bdb.run", "code.interact", "ctypes.CDLL", "lib2to3.pgen2.grammar.Grammar", "torch.jit.load"),
    *("torch.hub.load", "torch.hub._hub_dir", "torch.utils.cpp_extension.load", "torch.ops.load_library"),
    *("torch._dynamo.utils.import_submodule", "numpy.load", "numpy.save", "numpy.frombuffer", "mailbox.Maildir"),
    *(
        "numpy.core.numeric._frombuffer",
        "pdb.run",
        "platform.popen",
        "pydoc.pipepager",
        "dbm.dumb.open",
        "cPickle.loads",
    ),
    *(
        "multiprocessing.util.spawnv_passfds",
        "shelve.open",
        "wave.open",
        "runpy._run_module_code",
        "numpy.f2py.crackfortran.myeval",
    ),
}
_LAST_THAT_FIRES = "numpy.testing._private.utils.runstring"


def _fires() -> set[str]:
    names = list(RUN_AT_ONCE)
    first = names[: names.index(_LAST_THAT_FIRES) + 1]
    return {*first, "functools.reduce", "os.execvp"} - _QUIET


def _chains() -> dict[str, Operations]:
    """Calls of what other calls gave."""
    return {
        "getattr of a module": lambda c: a.call(
            a.call(name("builtins", "getattr"), calls("builtins.__import__", "os"), a.plain("system")),
            a.plain(f"touch {c}"),
        ),
        "attrgetter": lambda c: a.call(
            a.call(calls("operator.attrgetter", "system"), calls("importlib.import_module", "os")),
            a.plain(f"touch {c}"),
        ),
        "methodcaller": lambda c: a.call(calls("operator.methodcaller", "touch"), _path(c).content),
        "partial": lambda c: a.call(calls("functools.partial", Ops(name("os", "system")), f"touch {c}")),
        "partial by its state": lambda c: a.call(
            calls("functools.partial", Ops(name("torch.nn.modules.linear", "Identity")))
            + a.arguments(name("os", "system"), a.plain((f"touch {c}",)), b"}", b"N")
            + a.BUILD
        ),
        "map into a list": lambda c: a.call(
            name("builtins", "list"), calls("builtins.map", Ops(name("os", "system")), [f"touch {c}"])
        ),
        "map into a set": lambda c: a.call(
            name("builtins", "set"), calls("builtins.map", Ops(name("os", "system")), [f"touch {c}"])
        ),
        "map into bytes": lambda c: a.call(
            name("builtins", "bytes"), calls("builtins.map", Ops(name("os", "system")), [f"touch {c}"])
        ),
        "map into an ordered dictionary": lambda c: a.call(
            name("collections", "OrderedDict"), calls("builtins.map", Ops(name("os", "system")), [f"touch {c}"])
        ),
        "map into a size": lambda c: a.call(
            name("torch", "Size"), calls("builtins.map", Ops(name("os", "system")), [f"touch {c}"])
        ),
        "a default that is made": lambda c: a.call(
            a.call(
                name("builtins", "getattr"), calls("collections.defaultdict", Ops(name("os", "abort"))), a.plain("get")
            ),
            a.plain("x"),
        ),
        "compile and exec": lambda c: a.call(
            name("builtins", "exec"), calls("builtins.compile", _opens(c), "x", "exec")
        ),
        "rebuild from type": lambda c: calls(
            "torch._tensor._rebuild_from_type_v2",
            Ops(name("os", "system")),
            Ops(name("torch", "Tensor")),
            (f"touch {c}",),
            {},
        ),
        "rebuild from type, first version": lambda c: calls(
            "torch._tensor._rebuild_from_type",
            Ops(name("os", "system")),
            Ops(name("torch", "Tensor")),
            (f"touch {c}",),
            {},
        ),
        "touch of a path": lambda c: (
            name("pathlib", "Path.touch").replace(b"c", b"c", 1) + a.arguments(_path(c).content) + b"R"
        ),
    }


_AROUND = ("beside", "instead", "legacy", "beside, protocol 4")


def _wrapped(operations: bytes, around: str) -> bytes:
    match around:
        case "beside":
            return a.beside_model(operations)
        case "instead":
            return a.instead_of_model(operations)
        case "legacy":
            return a.legacy(operations)
    return a.beside_model(operations, 4)


def recipes() -> Iterator[Recipe]:
    fires = _fires()
    for number, (path, args) in enumerate(RUN_AT_ONCE.items()):
        around = _AROUND[number % len(_AROUND)]
        yield Recipe(
            f"gadget {path} {around}",
            lambda c, path=path, args=args, around=around: _wrapped(calls(path, *args(c)), around),
            path in fires,
        )
    # These must not reach a list: the loader sees them before anything is made of a tree.
    quiet = {"a default that is made", "touch of a path"}
    for chain, operations in _chains().items():
        yield Recipe(
            f"chain {chain}", lambda c, operations=operations: a.beside_model(operations(c)), chain not in quiet
        )
    for path in ("os.system", "subprocess.getoutput", "builtins.eval"):
        for around in _AROUND:
            yield Recipe(
                f"thrice {path} {around}",
                lambda c, path=path, around=around: _wrapped(
                    a.arguments(*(calls(path, *RUN_AT_ONCE[path](c)) for _ in range(3))), around
                ),
                True,
            )
    yield Recipe("bare pickle", lambda c: pickle.dumps(Path(c)) and _nested(c))
