"""One DICOM association (PS3.8) with bounds: it can be cancelled at any moment, and nobody can flood it."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import psutil
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event as Happening
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from napari_clipmed.errors import Cancelled
from napari_clipmed.pacs.refusals import unreachable, untrusted
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import MOST_INSTANCE_BYTES, PacsError, Timeouts
from napari_clipmed.progress import Progress

MOST_PDU_BYTES = 2**20
"""Longest protocol data unit that is read; we announce an eighth of it, and some servers are careless."""
ANNOUNCED_PDU_BYTES = 2**17
LOOK_EVERY_S = 0.2
"""How often a waiting transfer looks whether it should stop."""


@dataclass
class Guard:
    """What a transfer may take, and whether it should go on.

    Parameters
    ----------
    progress : Progress
        Cancelled by the person.
    silence_s : float
        Seconds without a sign of life amid a unit after which the server counts as gone.
    """

    progress: Progress
    silence_s: float
    received: int = 0
    most: int = field(
        default_factory=lambda: min(MOST_INSTANCE_BYTES, psutil.virtual_memory().available // 3)
    )
    flooded: bool = False

    @property
    def stopped(self) -> bool:
        """Whether nothing more should be read."""
        return self.flooded or self.progress.cancelled

    def began(self) -> None:
        """An instance is asked for: its bytes are counted from nought, against the memory there is now."""
        self.received = 0
        self.most = min(MOST_INSTANCE_BYTES, psutil.virtual_memory().available // 3)

    def watch(self, happening: Happening) -> None:
        """Handler of ``EVT_CONN_OPEN``: read the association's socket within bounds from now on.

        pynetdicom trusts the length that a unit claims and waits for ever for its end.
        """
        transport = happening.assoc.dul.socket
        line = transport.socket if transport is not None else None
        if transport is not None and line is not None:
            line.settimeout(self.silence_s)
            transport.recv = lambda size: self._receive(line, size)  # type: ignore[method-assign,assignment]

    def _receive(self, line: socket.socket, size: int) -> bytearray:
        self.received += size
        if size > MOST_PDU_BYTES or self.received > self.most:
            self.flooded = True
            raise OSError("more than may be received")
        content = bytearray()
        heard = time.monotonic()
        while len(content) < size:
            if self.stopped or time.monotonic() - heard > self.silence_s:
                raise OSError("stopped, or the peer fell silent")
            if line.fileno() < 0:
                raise OSError("closed by ourselves meanwhile")
            waiting = isinstance(line, ssl.SSLSocket) and line.pending()
            if waiting or select.select([line], [], [], LOOK_EVERY_S)[0]:
                piece = line.recv(min(65536, size - len(content)))
                if not piece:
                    return content
                content += piece
                heard = time.monotonic()
        return content

    def check(self, server: Server) -> None:
        """Raise for what stopped a transfer.

        Raises
        ------
        Cancelled, PacsError
        """
        if self.progress.cancelled:
            raise Cancelled
        if self.flooded:
            raise PacsError(
                f"{server.name} sent more than can be received "
                f"({self.most / 2**20:,.0f} MiB); the transfer was stopped.",
                "Close other programs if images are that large, or tell whoever looks after the server.",
            )


def entity(server: Server, timeouts: Timeouts) -> AE:
    """Ourselves as an application entity."""
    ae = AE(ae_title=server.calling_ae)
    ae.connection_timeout = ae.acse_timeout = timeouts.connect
    ae.dimse_timeout = ae.network_timeout = timeouts.answer
    ae.maximum_pdu_size = ANNOUNCED_PDU_BYTES
    return ae


@contextmanager
def associated(
    server: Server,
    contexts: list[PresentationContext],
    guard: Guard,
    timeouts: Timeouts,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """An association with a server; aborted as soon as the person cancels.

    Raises
    ------
    PacsError
        When it does not come about: the server is gone, not trusted, or does not know us.
    """
    refusal: list[A_ASSOCIATE] = []

    def note(happening: Happening) -> None:
        said = getattr(happening, "primitive", None)
        if isinstance(said, A_ASSOCIATE):
            refusal.append(said)

    guard.check(server)
    tls = (server.trusted(), server.host) if server.tls else None
    association = entity(server, timeouts).associate(
        server.host,
        server.port,
        contexts=contexts,
        ae_title=server.called_ae,
        ext_neg=list(roles),
        tls_args=tls,
        evt_handlers=[(evt.EVT_CONN_OPEN, guard.watch), (evt.EVT_ACSE_RECV, note), *handlers],
    )
    over = Event()

    def watch() -> None:
        while not over.wait(LOOK_EVERY_S):
            if guard.stopped and association.is_established:
                association.abort()
            if not association.is_alive():
                _let_go(association)
                return

    if not association.is_established:
        guard.check(server)
        raise _why_not(server, refusal[-1] if association.is_rejected and refusal else None, timeouts)
    watcher = Thread(target=watch, name="clipmed association", daemon=True)
    watcher.start()
    try:
        yield association
    finally:
        over.set()
        watcher.join()
        if association.is_established:
            association.release()


def _let_go(association: Association) -> None:
    """End every wait for an association whose own thread has ended.

    A request made at the moment when the association is aborted may wait for ever: pynetdicom 3.0 waits until
    that thread pauses, and looks for no other end.
    """
    association._is_paused = True
    association.dimse.msg_queue.put((None, None))


def gone(server: Server, guard: Guard) -> PacsError:
    """The error for a server that stopped answering; raises instead where we stopped it ourselves.

    Raises
    ------
    Cancelled, PacsError
    """
    guard.check(server)
    return PacsError(
        f"{server.name} went away or fell silent amid the transfer.", "Try again; what came so far is kept."
    )


def _why_not(server: Server, refusal: A_ASSOCIATE | None, timeouts: Timeouts) -> PacsError:
    """Why there is no association: what the server said, or what an attempt to connect meets."""
    if refusal is not None:
        return _rejected(server, refusal)
    try:
        with socket.create_connection((server.host, server.port), timeouts.connect) as line:
            if server.tls:
                with server.trusted().wrap_socket(line, server_hostname=server.host):
                    pass
    except ssl.SSLCertVerificationError:
        return untrusted(server)
    except ssl.SSLError:
        return PacsError(f"{server.name} does not speak TLS on port {server.port}.", "Add it without --tls.")
    except TimeoutError:
        return unreachable(server, "does not answer")
    except OSError:
        return unreachable(server, "cannot be reached")
    return PacsError(
        f"{server.name} took the connection but agreed to no association.",
        "Check that this is its DICOM port, whether it wants TLS, and whether it offers this at all.",
    )


def _rejected(server: Server, refusal: A_ASSOCIATE) -> PacsError:
    """PS3.8, table 9-21: source 1 (user) with reason 3 or 7 is about the AE titles."""
    reason = (refusal.result_source, refusal.diagnostic)
    if reason == (1, 7):
        return PacsError(
            f"{server.name} does not answer to the AE title {server.called_ae}.",
            "Ask whoever looks after the server for its AE title (--called).",
        )
    if reason == (1, 3):
        return PacsError(
            f"{server.name} does not know the AE title {server.calling_ae}.",
            f"Ask whoever looks after the server to let {server.calling_ae} in (--calling).",
        )
    return PacsError(
        f"{server.name} refused the association (source {reason[0]}, reason {reason[1]}).",
        "It may be busy, or not know this computer; ask whoever looks after it.",
    )
