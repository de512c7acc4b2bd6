"""The lake's place in an object store (``s3://bucket/prefix``): conditional writes there, copies of what is read here.

Objects that are created never change, so a copy with the right number of bytes is as good as the object, and polars and
DuckDB read files as they do of a folder. Requests go through obstore, which the extra `cluster` brings: it retries
errors of servers and connections within stated bounds. Its own words are never handed on, as an answer of the server
may quote the request with its key.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from vpp_pipeline.core.errors import StoreError
from vpp_pipeline.core.object_store import Entry, draft_beside, remove_drafts
from vpp_pipeline.core.parquet_files import sync

LAKE_ID = "lake.json"  # made with the lake: other copies and other warehouses belong to another one
PUT_BYTES = 16 * 2**20  # up to here an object is one conditional request; beyond it goes up in parts of this size
ANSWER_S, CONNECT_S, STALLED_S = 600, 5, 60  # limits of one exchange, of its connection, and of a pause in it
RETRIES, RETRY_S, PAUSE_S = 8, 90, 8  # of one request: most repetitions, within so long, with pauses of at most
IN_USE_S = 3_600.0  # a copy that was used within is not removed for want of room
WRITER = "writer"  # metadata of an object: which call has made it
GIB = 2**30
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # the first that is set counts
_ENDPOINT = re.compile(r"Amazon S3$|https?://[\w.\[\]:-]+(/\S*)?$")
_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"<Code>(\w+)</Code>")


class UnknownOutcomeError(StoreError):
    """A write was sent and no answer came, so that the object may have been made or may still be."""


@dataclass(frozen=True)
class Bucket:
    """Objects below ``url``, with copies of this machine below ``copies``, of some ``copies_gb`` in all."""

    url: str
    copies: Path
    copies_gb: float = 20.0

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes what it opens the store by, and no credentials."""
        return Bucket, (self.url, self.copies, self.copies_gb)

    def create(self, key: str, fill: Callable[[Path], None]) -> int:
        """Written here, then sent: on the condition that there is none, or, if large, in parts that become an object
        with the last of them.

        A large object is made under a name of its own, which is looked up before; no store takes parts on a condition
        that obstore could state.
        """
        target = self._copy(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(target) as draft:
            fill(draft)
            size = draft.stat().st_size
            if size > PUT_BYTES and self.size(key) is not None:
                raise FileExistsError(self.address(key))
            self._send(key, draft, size)
            sync(draft)
            os.replace(draft, target)
        return size

    def put(self, key: str, content: bytes) -> None:
        """Create or replace the object, whole or not at all."""
        self._do(lambda obs: obs.put(self._opened, key, content, mode="overwrite"))

    def make_durable(self, keys: Iterable[str]) -> None:
        """Nothing is left to do: a store keeps what it has acknowledged."""

    def get(self, key: str, *, is_final: bool = False) -> bytes | None:
        """The object's content, or that of its copy."""
        if not is_final:
            found = self._read(key)
            return None if found is None else self._do(lambda _: bytes(found.bytes()))
        with suppress(FileNotFoundError):
            return self._copy(key).read_bytes()
        return None if self._download(key) is None else self._copy(key).read_bytes()

    def size(self, key: str) -> int | None:
        """The object's bytes, as the store says."""
        try:
            return int(self._do(lambda obs: obs.head(self._opened, key))["size"])
        except FileNotFoundError:
            return None

    def fetch(self, key: str, expected: int) -> int | None:
        """Bytes of the copy; one of another size is taken from the store again."""
        copy = self._copy(key)
        with suppress(FileNotFoundError):
            if copy.stat().st_size == expected:
                os.utime(copy)  # used just now
                return expected
        return self._download(key)

    def path(self, key: str) -> Path:
        """The copy."""
        return self._copy(key)

    def address(self, key: str = "") -> str:
        """The object's URL."""
        return f"{self.url}/{key}".rstrip("/")

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of the objects, of 1,000 with each request."""
        yield from (entry.key for entry in self.entries(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects; parts of one that is not whole are none."""

        def listed(obs: ModuleType) -> list[dict[str, Any]]:
            return [meta for some in obs.list(self._opened, prefix=prefix or None) for meta in some]

        now = datetime.now(UTC)
        for meta in sorted(self._do(listed), key=lambda meta: str(meta["path"])):
            yield Entry(meta["path"], meta["size"], (now - meta["last_modified"]).total_seconds())

    def remove(self, key: str) -> None:
        """Remove the objects, and their copies."""
        wanted = [key] if Path(key).suffix else list(self.keys(key))
        if wanted:
            with suppress(FileNotFoundError):  # some stores say so
                self._do(lambda obs: obs.delete(self._opened, wanted))
        for one in wanted:
            self._copy(one).unlink(missing_ok=True)

    def tidy(self, age_s: float) -> None:
        """Without drafts of writes that died, and within the bound of copies: those used longest ago go first.

        Parts of an upload that died are the store's: a rule of the bucket removes them (docs/operations.md).
        """
        remove_drafts(self.copies, age_s)
        found, now = [], time.time()
        for copy in self.copies.rglob("*"):
            with suppress(FileNotFoundError):
                if copy.is_file():
                    found.append((copy.stat().st_mtime, copy.stat().st_size, copy))
        room = self.copies_gb * GIB - sum(size for _, size, _ in found)
        for used, size, copy in sorted(found):
            if room >= 0 or now - used < IN_USE_S:
                break
            copy.unlink(missing_ok=True)
            room += size

    @cached_property
    def lake_id(self) -> str:
        """What tells this lake from any other, also of one that was at this address before. Made with the lake.

        Raises StoreError where the store makes an object that is there again in spite of the condition: there, two
        commits of a day could both succeed.
        """
        found = self.get(LAKE_ID)
        if found is None:
            content = f'{{"format": 1, "id": "{secrets.token_hex(8)}"}}'.encode()
            if self._create_bytes(LAKE_ID, content) and self._create_bytes(LAKE_ID, content):
                raise StoreError(
                    "the object store overwrites objects that it is asked to create only if there is none, so that two "
                    "machines could both commit a day",
                    file=self.url,
                    remedy="Use a store with conditional writes (If-None-Match), such as Amazon S3, MinIO, Cloudflare "
                    "R2, Google Cloud Storage or Azure",
                )
            found = self.get(LAKE_ID) or b""
        if not (told := re.search(rb'"id": *"([0-9a-f]{16})"', found)):
            raise StoreError(
                "the object that names the lake cannot be read",
                file=self.address(LAKE_ID),
                remedy="Take its former version, or remove it: each machine then fetches its copies again",
            )
        return told[1].decode()

    def _create_bytes(self, key: str, content: bytes) -> bool:
        """Whether the small object was made by this call."""
        token = secrets.token_hex(16)
        return self._sent(key, token, lambda obs: self._put(obs, key, content, token))

    def _send(self, key: str, draft: Path, size: int) -> None:
        token = secrets.token_hex(16)

        def send(obs: ModuleType) -> None:
            if size <= PUT_BYTES:
                self._put(obs, key, draft.read_bytes(), token)
            else:
                parts = {"use_multipart": True, "chunk_size": PUT_BYTES, "max_concurrency": 4}
                obs.put(self._opened, key, draft, attributes={WRITER: token}, **parts)

        if not self._sent(key, token, send):
            raise FileExistsError(self.address(key))

    def _put(self, obs: ModuleType, key: str, content: bytes, token: str) -> None:
        attributes = {WRITER: token}
        obs.put(self._opened, key, content, mode="create", attributes=attributes, use_multipart=False)

    def _sent(self, key: str, token: str, send: Callable[[ModuleType], None]) -> bool:
        """Whether the object is that of this call. A repetition after a lost answer meets its own object: the token
        tells it from another's."""
        obs = obstore()
        try:
            self._do(send)
        except obs.exceptions.AlreadyExistsError:
            return self._writer(key) == token
        except UnknownOutcomeError:
            with suppress(StoreError):  # then the outcome stays unknown
                if self._writer(key) == token:
                    return True
            raise
        return True

    def _writer(self, key: str) -> str | None:
        found = self._read(key)
        return None if found is None else found.attributes.get(WRITER)

    def _read(self, key: str) -> Any:
        """The answer to a request for the object, not yet read; None where there is none."""
        try:
            return self._do(lambda obs: obs.get(self._opened, key))
        except FileNotFoundError:
            return None

    def _download(self, key: str) -> int | None:
        """Make the copy, whole or not at all; its bytes."""
        found, copy = self._read(key), self._copy(key)
        if found is None:
            copy.unlink(missing_ok=True)
            return None
        copy.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(copy) as draft:

            def write(_: ModuleType) -> None:
                with draft.open("wb") as file:
                    for piece in found:
                        file.write(piece)

            self._do(write)
            sync(draft)  # a loss of power leaves no copy that has the right size alone
            size = draft.stat().st_size
            os.replace(draft, copy)
        return size

    def _copy(self, key: str) -> Path:
        return self.copies / self.lake_id / key

    def _do(self, ask: Callable[[ModuleType], Any]) -> Any:
        """What ``ask`` gives. Raises FileNotFoundError for an object that is not there, obstore's AlreadyExistsError,
        and StoreError for all else that a store answers, or does not."""
        obs = obstore()
        try:
            return ask(obs)
        except obs.exceptions.AlreadyExistsError:
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error) and "NoSuchContainer" not in str(error):
                raise
            problem = self._said(error)
        except (obs.exceptions.BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of this machine's disk
                raise
            problem = self._said(error)
        raise problem  # out here, so that the library's words are not behind it either

    def _said(self, error: BaseException) -> StoreError:
        """What to say of an error of obstore: our words, with the server's status and code."""
        text, scheme = str(error), self.url.partition("://")[0]
        status = found[1] if (found := _STATUS.search(text)) else ""
        code = found[1] if (found := _CODE.search(text)) else ""
        told = " ".join(part for part in (status, code) if part)
        name, at = self.url.split("/")[2], endpoint(scheme)
        kinds = obstore().exceptions
        if code in ("NoSuchBucket", "ContainerNotFound", "NoSuchContainer"):
            return StoreError(
                f"there is no bucket {name} at {at}",
                file=self.url,
                remedy="Make it, or correct VPP_LAKE_URL, url under [lake] in prices.toml, or optimiser.shard_folder",
            )
        if any(word in text for word in ("MissingAccessKeyId", "MissingSecretAccessKey", "169.254.", "MissingKey")):
            return StoreError(
                "there are no credentials for the object store in the environment, and this machine has no role",
                file=self.url,
                remedy=f"Set {KEYS}" if scheme == "s3" else "Set the credentials of the store in the environment",
            )
        if status in ("401", "403") or isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return StoreError(
                f"the object store refuses access ({told})",
                file=self.url,
                remedy=f"Correct {KEYS} and AWS_REGION, or let them list the bucket, and get, put, and delete objects",
            )
        if status in ("301", "307", "400") and code in ("PermanentRedirect", "AuthorizationHeaderMalformed", ""):
            return StoreError(
                f"the bucket is in another region, or the endpoint is not its own ({told})",
                file=self.url,
                remedy="Set AWS_REGION to the region of the bucket, and AWS_ENDPOINT_URL where it is not Amazon's",
            )
        if "builder error" in text or "Unable to parse" in text:
            return _unusable_endpoint(self.url)
        if isinstance(error, kinds.NotSupportedError):
            return StoreError(
                "conditional writes are switched off, so that two machines could both commit a day",
                file=self.url,
                remedy="Take AWS_CONDITIONAL_PUT out of the environment",
            )
        if not status or (status.startswith("5") and status != "501") or status in ("408", "409", "429"):
            answer = f"answers with an error ({told})" if status else "does not answer"
            return UnknownOutcomeError(
                f"the object store at {at} {answer}, after as many as {RETRIES} repetitions",
                file=self.url,
                remedy="Look at the network, the service, and AWS_ENDPOINT_URL, and give the command again: what is "
                "committed stays as it is",
            )
        return StoreError(
            f"the object store refuses a request ({told})",
            file=self.url,
            remedy="Look the code up in its documentation; conditional writes (If-None-Match) must be among what it "
            "takes",
        )

    @cached_property
    def _opened(self) -> Any:
        """obstore's own client. It takes endpoint, region, and credentials from the environment."""
        from obstore.store import from_url

        if (scheme := self.url.partition("://")[0]) == "s3" and not _ENDPOINT.match(endpoint(scheme)):
            raise _unusable_endpoint(self.url)
        options = {
            "allow_http": endpoint("s3").startswith("http://"),
            "timeout": f"{ANSWER_S}s",
            "connect_timeout": f"{CONNECT_S}s",
            "read_timeout": f"{STALLED_S}s",
        }
        pauses = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=PAUSE_S), "base": 2}
        retries = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S), "backoff": pauses}
        return from_url(self.url, client_options=options, retry_config=retries)


def _unusable_endpoint(url: str) -> StoreError:
    return StoreError(
        f"the address of the object store cannot be used: {endpoint(url.partition('://')[0])}",
        file=url,
        remedy="Write AWS_ENDPOINT_URL as https://host, or http://host:port",
    )


def endpoint(scheme: str) -> str:
    """Where the environment says that the store is; without user and password, which are not read here."""
    named = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "") if scheme == "s3" else ""
    return re.sub(r"(?<=://)\S*@", "", named) or {"s3": "Amazon S3", "gs": "Google Cloud Storage"}.get(scheme, "Azure")


def obstore() -> ModuleType:
    """The library. Raises StoreError where it is not installed."""
    try:
        library = import_module("obstore")
        import_module("obstore.exceptions")
    except ModuleNotFoundError:
        raise StoreError(
            "a lake on an object store needs the package obstore, which is not installed",
            remedy="Install it: pip install 'vpp-pipeline[cluster]', or make cluster in a checkout",
        ) from None
    return library
