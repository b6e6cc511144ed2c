"""From one store to another, on any disk or in a bucket."""

from dark_halo_scope.bases.remote import RemoteStore
from dark_halo_scope.bases.store import BaseStore, StoreError


def export(store: BaseStore, key: str, uri: str) -> None:
    """Copy a verified artefact into another store, where it may be already.

    Args:
        store: Where it is.
        key: Its name.
        uri: The other store: see `RemoteStore`.

    Raises:
        StoreError: It is not in `store`, or damaged there.
        RemoteStoreError, NoRoomError, DiskError: The other store cannot be opened, or does not take it.
    """
    base = store.get(key)
    if base is None:
        raise StoreError(f"{key[:12]} in the store {store.root} is damaged, or gone: train it again")
    remote = RemoteStore(uri)
    if remote.folder is None:
        remote.put(key, base.folder)
    elif BaseStore(remote.folder, remote=str(store.root)).get(key) is None:
        raise StoreError(f"{key[:12]} came damaged to {remote.folder}: see to both disks")
