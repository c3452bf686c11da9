"""Answers OCSP requests from memory, and never from memory that may be wrong.

Theory of operation. A desk keeps, for each issuer that it was asked about, who answers, a register of how every
unexpired serial number stands, and answers that it has signed. An answer is kept until a quarter of its life is left,
or until its serial number is revoked or released, whichever is first.

What other processes revoke is heard of by asking the store, every `PAUSE`, what has changed since (`keep_up`). Nothing
in memory is believed unless that was last answered less than `TRUST` ago: so whatever is said has been true within the
last second. Otherwise, and for a serial number that is not in the register (it is new, or expired, or was never given),
the store is asked, each time. When the store is away too, the answer is `tryLater`.

An answer is kept only if no change has been heard of since the standing it says was read: one that was read before a
revocation and signed after it must not be kept beyond it. That a serial number is unknown is never kept: it may be
given in the next moment. Answers to nonces are signed each for itself (RFC 9654).

The register is read anew now and then (`read_due`), beside the answering. What is heard of meanwhile is looked up again
before the new register takes the place of the old one.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import structlog
from attrs import define, field, frozen

from certctl_core.errors import NotFound
from certctl_core.ids import IssuerId
from certctl_core.models.standings import Standing
from certctl_core.pki import ocsp as hashes
from certctl_core.pki.plan import OcspAnswer, OcspQuestion, OcspRequest
from certctl_core.ports import Ports
from certctl_core.usecases import ocsp
from certctl_core.usecases.ocsp import Responding
from certctl_web.ocsp.register import Register

PAUSE: Final = 0.3
"""Seconds between two looks for changes."""

TRUST: Final = 0.9
"""Seconds since the last look for which what is in memory is believed."""

LOOK_AGAIN: Final = 30.0
"""Seconds after which it is looked again who answers for an issuer: delegates are renewed, CAs come and go."""

CAS_SEEN_AFTER: Final = 1.0
"""Seconds after which a CA that was certified is known."""

READ_AGAIN: Final = 6 * 3600.0
"""Seconds after which the register is read anew, without what has expired and with what has been issued since."""

MOST_ANSWERS: Final = 100_000
"""About 80 megabytes."""

MOST_STANDINGS: Final = 1_500_000
"""About 64 megabytes."""

IDLE_AFTER: Final = 60.0
"""Seconds without a question after which changes are not looked for until the next one comes."""

SOON: Final = 600.0
"""Seconds before an answer would be signed anew in which that is done ahead."""

_SHARE_KEPT: Final = 0.75
_AHEAD: Final = "sha1"
"""The hash of the CertIDs whose answers are signed ahead: that of nearly every client."""

log = structlog.get_logger(__name__)


@frozen(eq=False)
class Answered:
    """A response in two parts to be sent one after the other. Times are seconds since 1970; `is_for_everybody` says
    that whoever else asks the same until `next_update` may be given it."""

    head: bytes
    tail: bytes
    this_update: float
    next_update: float
    status: str
    is_for_everybody: bool

    @property
    def der(self) -> bytes:
        return self.head + self.tail


_Kept = tuple[float, bytes, bytes, float, float, str]
"""Until when an answer is given, and its fields. Tuples of plain values are none of the garbage collector's business,
which would else look at a hundred thousand objects again and again."""


@define(eq=False)
class _Issuer:
    """What is known of one issuer. `changes` counts what was heard of, for answers that are being made meanwhile;
    `reread` are the serial numbers heard of while a register is being read."""

    identity: IssuerId
    found: tuple[Responding, ...]
    looked_at: float
    register: Register = field(factory=Register)
    read_at: float | None = None
    changes: int = 0
    reread: set[str] | None = None
    ahead: int = 0
    by_question: Mapping[tuple[str, bytes, bytes], Responding] = field(init=False)

    @by_question.default
    def _by_question(self) -> Mapping[tuple[str, bytes, bytes], Responding]:
        return by_question(self.found)


def by_question(found: Sequence[Responding]) -> Mapping[tuple[str, bytes, bytes], Responding]:
    """Who answers, by what questions say of the issuer."""
    return {
        (name, *hashes.issuer_hashes(one.responder.issuer, name)): one for one in found for name in hashes.HASH_NAMES
    }


class OcspDesk:
    """Threads and greenlets may share it. One of them calls `keep_up` every `PAUSE`, another one `read_due` now and
    then. With `most_standings` 0 it has no register, for a process that is rarely asked."""

    def __init__(
        self,
        ports: Ports,
        clock: Callable[[], float] = time.monotonic,
        most_answers: int = MOST_ANSWERS,
        most_standings: int = MOST_STANDINGS,
    ) -> None:
        self._ports = ports
        self._clock = clock
        self._most_answers = most_answers
        self._most_standings = most_standings
        self._lock = threading.Lock()
        self._issuers: dict[str, _Issuer] = {}
        self._answers: OrderedDict[str, _Kept] = OrderedDict()
        self._position: int | None = None
        self._as_of = self._asked_at = float("-inf")

    # --- Answering ------------------------------------------------------------------------------------------------

    def answer(self, issuer_id: str, request: OcspRequest) -> Answered:
        """Raises `NotFound` for an issuer that does not exist, `NotConfigured` for one that answers itself, `Refused`
        for questions about others (`unauthorized`), `UpstreamUnavailable` when the store is needed and away."""
        self._asked_at = self._clock()
        issuer = self._issuers.get(issuer_id) or self._open(issuer_id)
        if request.nonce is None and len(request.questions) == 1:
            question = request.questions[0]
            responding = issuer.by_question.get(question.issuer)
            if responding is not None:
                return self._alone(issuer, responding, question)
        responding = ocsp.responding(issuer.found, request)
        standings = self._standings(issuer, [question.serial_number for question in request.questions])
        found = [standings.get(question.serial_number) for question in request.questions]
        return self._sign(responding, request, found)

    def about_serial(self, issuer_id: str, serial_number: str) -> Answered:
        """As `answer`, about a serial number of the CA that signs new leafs. Raises `Invalid` for what is none."""
        issuer = self._issuers.get(issuer_id) or self._open(issuer_id)
        return self.answer(issuer_id, OcspRequest((ocsp.question_about(issuer.found, serial_number),)))

    def _alone(self, issuer: _Issuer, responding: Responding, question: OcspQuestion) -> Answered:
        """A single question without a nonce: the answer is the same for everybody."""
        key = _key(issuer, responding, question)
        now = self._clock()
        if now - self._as_of < TRUST:
            kept = self._answers.get(key)
            if kept is not None and now < kept[0]:
                return Answered(*kept[1:], is_for_everybody=True)
        changes = issuer.changes
        standing = self._standings(issuer, [question.serial_number]).get(question.serial_number)
        if standing is None and question.serial_number not in responding.cas:
            responding = self._with_new_cas(issuer, responding)
        answered = self._sign(responding, OcspRequest((question,)), [standing])
        if answered.is_for_everybody:
            self._keep(issuer, key, answered, changes)
        return answered

    def _with_new_cas(self, issuer: _Issuer, responding: Responding) -> Responding:
        """What is unknown may be a CA that was certified a moment ago. Looking is not cheap, so not for everybody."""
        if self._clock() - issuer.looked_at > CAS_SEEN_AFTER:
            self._look_again(issuer)
        return next((one for one in issuer.found if one.authority == responding.authority), responding)

    def _sign(self, responding: Responding, request: OcspRequest, found: Sequence[Standing | None]) -> Answered:
        now = self._ports.clock.now()
        numbers = [question.serial_number for question in request.questions]
        answers = [responding.answer(number, standing, now) for number, standing in zip(numbers, found, strict=True)]
        head, tail = responding.responder.respond_in_parts(request, answers, now)
        is_alone = len(answers) == 1 and request.nonce is None
        this_update, next_update = answers[0].this_update, answers[0].next_update
        status = _status(answers[0])
        return Answered(
            head,
            tail,
            this_update.timestamp(),
            next_update.timestamp(),
            status,
            is_alone and answers[0].known and next_update > now,
        )

    def _keep(self, issuer: _Issuer, key: str, answered: Answered, changes: int) -> None:
        left = answered.next_update - self._ports.clock.now().timestamp()
        with self._lock:
            if issuer.changes == changes:
                self._answers[key] = (
                    self._clock() + left * _SHARE_KEPT,
                    answered.head,
                    answered.tail,
                    answered.this_update,
                    answered.next_update,
                    answered.status,
                )
                if len(self._answers) > self._most_answers:
                    self._answers.popitem(last=False)

    def _standings(self, issuer: _Issuer, serial_numbers: Sequence[str]) -> Mapping[str, Standing]:
        found: dict[str, Standing] = {}
        if self._clock() - self._as_of < TRUST:
            known = {number: issuer.register.get(number) for number in serial_numbers}
            found = {number: standing for number, standing in known.items() if standing is not None}
        missing = [number for number in serial_numbers if number not in found]
        return {**found, **ocsp.standings(self._ports, issuer.identity, missing)} if missing else found

    def _open(self, issuer_id: str) -> _Issuer:
        """What there is to know of an issuer before its register is read."""
        found = ocsp.responders(self._ports, issuer_id)
        return self._issuers.setdefault(issuer_id, _Issuer(IssuerId(issuer_id), found, self._clock()))

    # --- Keeping up -----------------------------------------------------------------------------------------------

    def open_all(self) -> None:
        """Prepare for questions about every issuer there is, rather than when the first one comes."""
        for issuer_id in ocsp.issuers(self._ports):
            if issuer_id not in self._issuers:
                self._open(issuer_id)
        self._asked_at = self._clock()

    def keep_up(self) -> None:
        """Hear of what has changed. Raises `CertctlError` when the store is away; what is in memory is then soon not
        believed any more."""
        if self._clock() - self._asked_at < IDLE_AFTER:
            self._hear_changes()

    def look_after(self) -> None:
        """Look again who answers, and read registers that are old. It may take seconds. Raises as `keep_up`."""
        if self._clock() - self._asked_at >= IDLE_AFTER:
            return
        for issuer in list(self._issuers.values()):
            if self._clock() - issuer.looked_at > LOOK_AGAIN:
                self._look_again(issuer)
            if self._most_standings and (issuer.read_at is None or self._clock() - issuer.read_at > READ_AGAIN):
                self._read(issuer)

    def _hear_changes(self) -> None:
        asked = self._clock()
        if self._position is None or asked - self._as_of > ocsp.CHANGES_KEPT.total_seconds() / 2:
            self._begin(ocsp.position(self._ports))
        more = True
        while more:
            asked = self._clock()  # what was committed by now is in the answer
            heard = ocsp.changes(self._ports, self._position or 0)
            by_issuer: dict[str, set[str]] = {}
            for issuer_id, serial_number in heard.changed:
                by_issuer.setdefault(issuer_id, set()).add(serial_number)
            for whose, serial_numbers in by_issuer.items():
                if issuer := self._issuers.get(whose):
                    self._take_in(issuer, serial_numbers)
            self._position, more = heard.position, heard.more
        self._as_of = asked

    def _begin(self, position: int) -> None:
        """Forget everything about which changes may have been missed."""
        with self._lock:
            self._answers.clear()
            for issuer in self._issuers.values():
                issuer.register, issuer.read_at, issuer.changes = Register(), None, issuer.changes + 1
        self._position = position

    def _take_in(self, issuer: _Issuer, serial_numbers: set[str]) -> None:
        """Believe the new standings from now on, and no answer that says something else."""
        standings = ocsp.standings(self._ports, issuer.identity, serial_numbers)
        with self._lock:
            issuer.changes += 1
            if issuer.reread is not None:
                issuer.reread |= serial_numbers
            for standing in standings.values():
                if issuer.register.get(standing.serial_number):
                    issuer.register.put(standing)
            for serial_number in serial_numbers:
                for responding in issuer.found:
                    for name in hashes.HASH_NAMES:
                        self._answers.pop(_key_of(issuer.identity, responding.authority, name, serial_number), None)

    def _look_again(self, issuer: _Issuer) -> None:
        try:
            found = ocsp.responders(self._ports, issuer.identity)
        except NotFound:
            self._issuers.pop(issuer.identity, None)
            return
        issuer.found, issuer.by_question, issuer.looked_at = found, by_question(found), self._clock()

    def _read(self, issuer: _Issuer) -> None:
        others = sum(one.register.count for one in self._issuers.values() if one is not issuer)
        register, issuer.reread = Register(), set()
        try:
            for standing in _breathing(ocsp.unexpired(self._ports, issuer.identity)):
                if register.count + others >= self._most_standings:
                    break  # the store is asked about the others
                register.put(standing)
            for standing in _breathing(ocsp.revoked(self._ports, issuer.identity)):
                if register.get(standing.serial_number):
                    register.revoke(standing)
            while not self._take_over(issuer, register):
                again, issuer.reread = issuer.reread or set(), set()
                for standing in ocsp.standings(self._ports, issuer.identity, again).values():
                    if register.get(standing.serial_number):
                        register.put(standing)
        finally:
            issuer.reread = None
        log.info("OCSP register read", issuer=issuer.identity, serial_numbers=register.count)

    def _take_over(self, issuer: _Issuer, register: Register) -> bool:
        """Use the new register, unless something was heard of that is not in it."""
        with self._lock:
            if issuer.reread:
                return False
            issuer.register, issuer.read_at, issuer.ahead = register, self._clock(), 0
            return True

    # --- Signing ahead --------------------------------------------------------------------------------------------

    def sign_ahead(self, count: int) -> int:
        """Sign answers that nobody has asked for yet, at most so many, and those that are soon to be signed anew; how
        many there were. Nothing is signed while there is nothing to believe, or no room."""
        signed = 0
        if self._clock() - self._as_of >= TRUST:
            return 0
        for issuer in [one for one in self._issuers.values() if one.read_at is not None]:
            while signed < count and issuer.ahead < issuer.register.slots:
                serial_numbers = issuer.register.serial_numbers(issuer.ahead, issuer.ahead + 16)
                issuer.ahead += 16
                signed += sum(self._ahead(issuer, serial_number) for serial_number in serial_numbers)
        return signed

    def is_idle_for(self, seconds: float) -> bool:
        """Whether nobody has asked for so long."""
        return self._clock() - self._asked_at > seconds

    def begin_ahead(self) -> None:
        """Begin another round of signing ahead."""
        for issuer in self._issuers.values():
            issuer.ahead = 0

    def is_ahead(self) -> bool:
        """Whether there is nothing left of this round, as far as registers have been read."""
        known = [issuer for issuer in self._issuers.values() if issuer.read_at is not None]
        return all(issuer.ahead >= issuer.register.slots for issuer in known)

    def _ahead(self, issuer: _Issuer, serial_number: str) -> bool:
        standing, now = issuer.register.get(serial_number), self._clock()
        if standing is None:
            return False
        responding = next((one for one in issuer.found if standing.authority in ("", one.authority)), None)
        if responding is None:
            return False
        key = _key_of(issuer.identity, responding.authority, _AHEAD, serial_number)
        kept = self._answers.get(key)
        if kept is None and len(self._answers) * 10 >= self._most_answers * 9:
            return False
        if kept is not None and kept[0] > now + SOON:
            return False
        changes = issuer.changes
        request = hashes.request_about(responding.responder.issuer, serial_number, _AHEAD)
        self._keep(issuer, key, self._sign(responding, request, [issuer.register.get(serial_number)]), changes)
        return True


def _breathing(standings: Iterable[Standing]) -> Iterator[Standing]:
    """The same, with a moment for others now and then: greenlets share one thread."""
    for number, standing in enumerate(standings):
        if number % 128 == 127:
            time.sleep(0)
        yield standing


def _status(answer: OcspAnswer) -> str:
    if answer.revoked_at is not None:
        return "revoked"
    return "good" if answer.known else "unknown"


def _key(issuer: _Issuer, responding: Responding, question: OcspQuestion) -> str:
    return _key_of(issuer.identity, responding.authority, question.hash_name, question.serial_number)


def _key_of(issuer_id: str, authority: str, hash_name: str, serial_number: str) -> str:
    """Of an answer that is kept. One text takes less room than four in a tuple."""
    return f"{issuer_id} {authority} {hash_name} {serial_number}"
