"""What the scripts share: the exit status, configs by name, arguments of the form LABEL=VALUE."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, TypeVar

_RUNNING: list[bool] = []  # not empty once `run` has called main


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. Libraries that catch all errors, such as asyncio, let this kind through."""


def leave(error: BaseException) -> NoReturn:
    """Ends the process with one line. Python's own end would crash where threads of JAX still compile or compute."""
    name, status = ("SIGTERM", 143) if isinstance(error, Terminated) else ("Ctrl-C", 130)
    print(f"stopped by {name}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def signal_in(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C or SIGTERM that an error is, or that it comes from: some code raises its own error for any other."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: libraries in C that import others can crash on an error in there."""
    while frame and frame.f_globals.get("__name__") != "importlib._bootstrap":
        frame = frame.f_back
    return frame is not None


def send_later(number: int) -> None:
    """Sends this process a signal again in a tenth of a second."""
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()


def watch_signals() -> None:
    """Ctrl-C and SIGTERM end this process in one line, also while modules are imported."""

    def end(number: int, frame: FrameType | None) -> None:
        stop = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        if not importing(frame):
            raise stop
        if not _RUNNING:
            leave(stop)
        send_later(number)  # what main has begun, such as a file, is to be cleaned up

    def in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if stop := signal_in(error):
            leave(stop)
        sys.__excepthook__(kind, error, trace)

    def again(unraisable: Any) -> None:
        """A callback, such as one of garbage collection, swallows what it raises: the signal must come again."""
        for kind, number in ((Terminated, signal.SIGTERM), (KeyboardInterrupt, signal.SIGINT)):
            if issubclass(unraisable.exc_type, kind):
                send_later(number)
                return
        if unraisable.object is not None:  # else it is of a library in C++: a callback that comes after a failed write
            sys.__unraisablehook__(unraisable)

    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, end)
    sys.excepthook, sys.unraisablehook = in_one_line, again


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:  # a script of this folder, not a test
    watch_signals()

import dataclasses  # noqa: E402 -- only now that signals are watched

import tyro  # noqa: E402

from musicvae_jax.config import UserError, nearest  # noqa: E402

T = TypeVar("T")
Model = TypeVar("Model", bound=Any)  # a `TrainedVAE`


def run(main: Callable[[], int | None]) -> None:
    """Calls main and exits with its status.

    It is 2, with one line on standard error, for a `UserError` or `OSError`; 130 for Ctrl-C and 143 for SIGTERM.
    """
    _RUNNING.append(True)
    try:
        sys.exit(main())
    except (Exception, KeyboardInterrupt) as error:
        if stop := signal_in(error):
            leave(stop)
        if not isinstance(error, UserError | OSError):
            raise
        print(f"error: {error}", file=sys.stderr)  # the text of an OSError names the file and the reason
        sys.exit(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataPlaces:
    """Where a script that takes a run reads music: where its user says. The run may be somebody else's."""

    data_dir: str = ""
    """Where prepared data sets are; TFDS's own folder if not given."""
    manual_dir: str = ""
    """A folder with the sources of the data set, if it is to be prepared from there."""
    path: str = ""
    """midi_folder only: the folder of MIDI, ABC and MusicXML."""
    trust_config: bool = False
    """Read where the config of the run says; for runs of your own."""

    def apply(self, vae: Model, workdir: str) -> Model:
        """The model of a run that reads music at the user's places.

        Raises:
            UserError: the config names a place that the user has neither given nor allowed.
        """
        config = vae.config
        if self.trust_config:
            return vae
        mine = {name: getattr(self, name) for name in ("data_dir", "manual_dir", "path")}
        others = {name: getattr(config.data, name) for name in ("data_dir", "path") if not mine[name]}
        if any(others.values()):
            named = ", ".join(f"{name} = {place!r}" for name, place in others.items() if place)
            flags = " and ".join(f"--{name.replace('_', '-')} DIR" for name, place in others.items() if place)
            allowed = f"{flags}, or --trust-config to read there"
            raise UserError(f"the config of {workdir} has {named}, which is read only if you say so: {allowed}")
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **mine))
        return dataclasses.replace(vae, config=config)


def check_first_word(known: Iterable[str], kind: str) -> None:
    """Refuses an unknown first word in one line; tyro would also complain about all arguments after it."""
    word = next(iter(sys.argv[1:]), "-")
    if not word.startswith("-") and word not in known:
        raise UserError(f"no {kind} {word!r}: {nearest(word, known)}")


def choose(kinds: dict[str, tuple[str, T]]) -> T:
    """The value that the command line names, its fields overridden by flags.

    Args:
        kinds: name -> (description, default value).
    """
    check_first_word(kinds, "config")
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.extras.overridable_config_cli(kinds)
    except SystemExit as stop:
        # tyro puts the error of a config into a box; raise the original error, so that `run` prints it as one line.
        error = stop.__context__
        while error is not None and not isinstance(error, UserError):
            error = error.__context__
        if error is not None:
            raise error from None
        sys.stderr.write(box.getvalue())
        raise


def split_labels(name: str, texts: Iterable[str], form: str) -> dict[str, str]:
    """Splits each LABEL=VALUE at the first equals sign: label -> value. Labels differ; neither part is empty.

    Args:
        name: of the argument, for error messages.
        texts: its values.
        form: what is allowed, for error messages, e.g. ``"LABEL=WORKDIR"``.
    """
    values: dict[str, str] = {}
    for text in texts:
        label, _, value = text.partition("=")
        if not (label and value.split()):
            raise UserError(f"{name} has {text!r}: allowed is {form}")
        if label in values:
            raise UserError(f"{name} has {label!r} twice: labels must differ")
        values[label] = value
    return values
