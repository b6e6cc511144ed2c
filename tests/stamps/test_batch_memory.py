import weakref

import numpy as np
import torch

from dark_halo_scope.stamps.batch_memory import BatchMemory

FLOAT32 = np.dtype(np.float32)


def test_memory_is_used_again_when_nothing_refers_to_it():
    memory = BatchMemory(pin=False)
    places = set()
    for n in [5, 5, 4, 5, 3]:
        batch = memory.empty("image", (n, 2), FLOAT32)
        places.add(batch.data_ptr())
        del batch
    assert len(places) == 1


def test_what_is_still_referred_to_is_not_overwritten():
    memory = BatchMemory(pin=False)
    kept = []
    for k, hold in enumerate(
        [lambda t: t, lambda t: t[1:, 0], lambda t: t.numpy(), lambda t: t.view(torch.int32), lambda t: t.detach()]
    ):
        batch = memory.empty("image", (3, 4), FLOAT32)
        batch.fill_(k)
        kept.append(hold(batch))
        del batch
    again = [memory.empty("image", (3, 4), FLOAT32).fill_(-1) for _ in range(3)]
    assert [float(torch.as_tensor(part).view(torch.float32).flatten()[0]) for part in kept] == [0, 1, 2, 3, 4]
    assert len(again) == 3


def test_a_gradient_keeps_what_it_needs():
    memory = BatchMemory(pin=False)
    weight = torch.ones(2, 1, requires_grad=True)
    batch = memory.empty("image", (3, 2), FLOAT32)
    batch.copy_(torch.arange(6.0).view(3, 2))
    loss = (batch @ weight).sum()
    del batch
    memory.empty("image", (3, 2), FLOAT32).fill_(9)
    loss.backward()
    assert weight.grad.flatten().tolist() == [6, 9]


def test_fields_and_larger_batches_have_memory_of_their_own():
    memory = BatchMemory(pin=False)
    image = memory.empty("image", (2, 3), FLOAT32)
    exponent = memory.empty("exponent", (2,), np.dtype(np.int8))
    assert exponent.dtype == torch.int8
    assert image.shape == (2, 3)
    del image
    assert memory.empty("image", (20, 3), FLOAT32).fill_(1).sum() == 60


def test_a_batch_that_outlives_its_epoch_keeps_no_other_memory():
    memory = BatchMemory(pin=False)
    batch = memory.empty("image", (2, 3), FLOAT32).fill_(1)
    memory.empty("image", (2, 3), FLOAT32)
    free = weakref.ref(memory._free["image"])
    assert len(free()) == 1
    del memory
    assert free() is None
    assert batch.sum() == 6
