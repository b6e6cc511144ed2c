"""``store.json``: what a training store holds and how it was made; a folder with it is a whole store."""

import json
from dataclasses import dataclass
from typing import Any

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.files import StampFiles

MANIFEST = "store.json"
FORMAT = "dark halo scope training store"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class StoreManifest:
    """The content of ``store.json``.

    Attributes:
        raw_root: Where the raw dataset lay.
        raw_fingerprint: Its fingerprint: see `StampIndex`.
        digest: Of everything that the store's bytes depend on: see `StoreOptions.digest`.
        settings: The options that the store was made with.
        pixels: Type, shape and unit of the pixel column, in words for other readers.
        stamps: Stamps by split and class.
        faults: Raw rows that were quarantined, repaired and excluded, by reason, split and class.
        float16_error: Rms error of the pixels over the sky noise, its maximum and mean over the stamps and the limit;
            None for float32.
        files: ``rows``, ``bytes`` and ``sha256`` of each file.
    """

    raw_root: str
    raw_fingerprint: str
    digest: str
    settings: dict[str, Any]
    pixels: dict[str, Any]
    stamps: dict[str, dict[str, int]]
    faults: dict[str, Any]
    float16_error: dict[str, float] | None
    files: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """What `from_bytes` reads back."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **vars(self)}

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "StoreManifest":
        """Read a manifest.

        Raises:
            ContractError: When it is none, or of another version of the format.
        """
        try:
            fields = json.loads(content)
            is_store = fields.pop("format") == FORMAT
            version = fields.pop("format_version")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ContractError(f"{name} is no manifest of a training store; prepare the store again") from error
        if not is_store or version != FORMAT_VERSION:
            raise ContractError(
                f"{name} is of format {version}, but this version reads {FORMAT_VERSION}; prepare the store again"
            )
        return cls(**fields)

    @classmethod
    def find(cls, files: StampFiles) -> "StoreManifest | None":
        """The manifest beside ``files``, held against them; None where they are a raw dataset.

        Raises:
            ContractError: When a file is missing, left over or of another size than the manifest says.
        """
        content = files.read_beside(MANIFEST)
        if content is None:
            return None
        manifest = cls.from_bytes(content, f"{files.root}/{MANIFEST}")
        sizes = dict(zip(files.names, files.sizes, strict=True))
        stored = {name: entry["bytes"] for name, entry in manifest.files.items() if name.endswith(".parquet")}
        wrong = sorted(name for name in sizes.keys() | stored.keys() if sizes.get(name) != stored.get(name))
        if wrong:
            raise ContractError(
                f"{files.root}: {wrong[0]} has {sizes.get(wrong[0], 'no')} bytes where {MANIFEST} says "
                f"{stored.get(wrong[0], 'none')} ({len(wrong)} such files); a store is read as a whole: copy it again, "
                "or prepare it again"
            )
        return manifest
