"""How people move, as a sensor on the hip feels it: six activities, each person in their own way.

A toy with the structure of real recordings, not a model of biomechanics. Walking and stairs are sums of harmonics of
the stride on each axis; sitting, standing and lying are a direction of gravity and some sway. People differ in cadence,
in the amplitude of each axis and harmonic, in the phases between the axes, in posture and in how the sensor is strapped
on; some climb stairs much as they walk, some sit as others stand. Sessions of one person differ in pace and by a slip
of the strap, bouts of one session in slope, vigour and posture, so that one bout does not tell how somebody walks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]

SAMPLING_RATE_HZ = 50.0
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")  # m/s^2, rad/s; worn straight: forward, left, up
MOVING = ("walking", "stairs_up", "stairs_down")
ACTIVITIES = (*MOVING, "sitting", "standing", "lying")
N_HARMONICS = 4
GRAVITY_M_S2 = 9.81

# What people have in common.
_STRIDE_HZ = np.array([0.95, 0.82, 1.0])  # two steps a stride
_AMPLITUDE = np.array(  # of walking: (channels, harmonics of the stride)
    [
        [0.40, 1.60, 0.30, 0.50],
        [1.10, 0.30, 0.50, 0.15],
        [0.35, 2.40, 0.25, 0.80],
        [0.45, 0.20, 0.12, 0.05],
        [0.20, 0.40, 0.08, 0.12],
        [0.60, 0.15, 0.15, 0.05],
    ]
)
_BY_CHANNEL = np.array(  # (moving activities, channels): how much of it
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.8, 1.2, 0.85, 1.15, 1.35, 0.9],
        [1.15, 1.0, 1.35, 1.05, 0.9, 1.1],
    ]
)
_BY_HARMONIC = np.array([[1.0, 1.0, 1.0, 1.0], [1.1, 0.95, 0.9, 0.7], [0.9, 1.0, 1.15, 1.5]])  # impacts going down
_TEMPLATE = _AMPLITUDE * _BY_CHANNEL[:, :, None] * _BY_HARMONIC[:, None, :]  # (moving activities, channels, harmonics)
_PHASE_RAD = np.random.default_rng(0).uniform(0, 2 * np.pi, _TEMPLATE.shape)
_PITCH_DEG = np.array([4.0, 11.0, -1.0, -16.0, 2.0, -82.0])  # of the trunk by activity, positive forward
_SWAY = np.array([[0.25, 0.25, 0.3, 0.03, 0.06, 0.02], [0.06, 0.06, 0.07, 0.01, 0.02, 0.006]])  # m/s^2, rad/s
_NOISE = np.repeat([0.04, 0.01], 3)  # of the sensor, in the units of the channels

# How far people differ; of factors the scatter of the logarithm.
_LEAN_DEG = 5.5
_POSTURE_DEG = np.array([[3.5, 4.5, 4.5, 11.0, 4.5, 6.5], [2.0, 2.0, 2.0, 5.5, 3.5, 38.0]])  # pitch, roll by activity
_MOUNT_DEG = 19.0
_STRIDE_SCATTER = (0.1, 0.055)  # of a person; of their activities
_AMPLITUDE_SCATTER = (0.25, 0.21, 0.32)  # of each channel; by activity too; of each harmonic
_PHASE_SCATTER_RAD = (0.9, 0.55)  # of each channel and harmonic; by activity too

# How far sessions of a person, and bouts of a session, differ.
_SESSION_PACE, _SESSION_VIGOUR, _SLIP_DEG = 0.04, 0.12, 5.0
_BOUT_PACE, _BOUT_VIGOUR, _BOUT_SWAY, _BOUT_LEVEL = 0.07, 0.22, 0.5, 0.37
_BOUT_TILT_DEG = np.array([3.0, 3.0, 3.0, 9.0, 5.0, 14.0])


@dataclass(frozen=True)
class Person:
    """How somebody moves.

    Attributes:
        stride_hz: Of each moving activity, (3,).
        amplitude: Of each moving activity, channel and harmonic, (3, 6, 4).
        phase_rad: Likewise.
        tilt_deg: Pitch and roll of the trunk by activity, (6, 2).
        sway: Factor on the sway by activity, (6,).
        mount: Rotation from the body to the sensor, (3, 3).
    """

    stride_hz: Floats
    amplitude: Floats
    phase_rad: Floats
    tilt_deg: Floats
    sway: Floats
    mount: Floats


@dataclass(frozen=True)
class Session:
    """How somebody is, and wears the sensor, on one day.

    Attributes:
        pace: Factor on the stride's frequency.
        vigour: Factor on the amplitude of each channel, (6, 1).
        slip: Rotation of the strap, (3, 3).
    """

    pace: float
    vigour: Floats
    slip: Floats


def draw_person(rng: np.random.Generator, variety: float) -> Person:
    """A person; ``variety`` scales how far people differ, 0 for not at all."""

    def normal(*shape: int) -> Floats:
        return variety * rng.normal(size=shape)

    likeness = variety * rng.beta(0.8, 1.6, (len(MOVING), 1, 1))  # of stairs to walking
    amplitude = _between(_TEMPLATE, _TEMPLATE[0], likeness)
    for scatter, shape in zip(_AMPLITUDE_SCATTER, ((6, 1), (3, 6, 1), amplitude.shape), strict=True):
        amplitude = amplitude * np.exp(scatter * normal(*shape))
    stride_hz = _between(_STRIDE_HZ, _STRIDE_HZ[0], likeness[:, 0, 0])
    lean = np.array([[_LEAN_DEG * normal(1)[0]], [0.0]])
    tilt_deg = np.stack([_PITCH_DEG, np.zeros(len(ACTIVITIES))]) + lean + _POSTURE_DEG * normal(2, len(ACTIVITIES))
    return Person(
        stride_hz=stride_hz * np.exp(_STRIDE_SCATTER[0] * normal(1) + _STRIDE_SCATTER[1] * normal(3)),
        amplitude=amplitude,
        phase_rad=_PHASE_RAD + _PHASE_SCATTER_RAD[0] * normal(6, 4) + _PHASE_SCATTER_RAD[1] * normal(3, 6, 4),
        tilt_deg=tilt_deg.T,
        sway=np.exp(0.5 * normal(len(ACTIVITIES))),
        mount=_rotation(np.deg2rad(_MOUNT_DEG) * normal(3)),
    )


def draw_session(rng: np.random.Generator) -> Session:
    """A session."""
    return Session(
        pace=float(np.exp(rng.normal(0, _SESSION_PACE))),
        vigour=np.exp(rng.normal(0, _SESSION_VIGOUR, (len(CHANNELS), 1))),
        slip=_rotation(np.deg2rad(_SLIP_DEG) * rng.normal(size=3)),
    )


def record_bout(rng: np.random.Generator, person: Person, session: Session, activity: int, n_samples: int) -> Floats:
    """What the sensor gives while somebody is at ``activity`` for a while, (6, n_samples)."""
    sway = np.repeat(_SWAY[:, activity], 3) * person.sway[activity] * np.exp(rng.normal(0, _BOUT_SWAY))
    felt = sway[:, None] * _wander(rng, len(CHANNELS), n_samples, seconds=0.3)
    if activity < len(MOVING):
        felt += _strides(rng, person, session, activity, n_samples)
    pitch, roll = np.deg2rad(person.tilt_deg[activity] + _BOUT_TILT_DEG[activity] * rng.normal(size=2))
    up = np.array([-np.sin(pitch), np.cos(pitch) * np.sin(roll), np.cos(pitch) * np.cos(roll)])
    felt[:3] += GRAVITY_M_S2 * up[:, None]
    worn = session.slip @ person.mount
    return np.concatenate([worn @ felt[:3], worn @ felt[3:]]) + _NOISE[:, None] * rng.normal(size=felt.shape)


def _strides(rng: np.random.Generator, person: Person, session: Session, activity: int, n_samples: int) -> Floats:
    """The part of walking or stairs that the legs make, (6, n_samples); flat stairs are like walking."""
    level = _BOUT_LEVEL * abs(rng.normal())
    pace = session.pace * np.exp(rng.normal(0, _BOUT_PACE)) * (1 + 0.03 * _wander(rng, 1, n_samples, seconds=4.0)[0])
    stride_hz = _between(person.stride_hz[activity], person.stride_hz[0], level) * pace
    stride = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.cumsum(stride_hz) / SAMPLING_RATE_HZ
    amplitude = _between(person.amplitude[activity], person.amplitude[0], level)
    amplitude = amplitude * np.exp(rng.normal(0, _BOUT_VIGOUR, amplitude.shape) + rng.normal(0, _BOUT_VIGOUR))
    phase = np.arange(1, N_HARMONICS + 1)[:, None] * stride + person.phase_rad[activity][..., None]
    waves = (amplitude[..., None] * np.cos(phase)).sum(axis=1)  # (channels, samples)
    return waves * session.vigour * (1 + 0.15 * _wander(rng, len(CHANNELS), n_samples, seconds=1.0))


def _between(values: Floats, others: Floats, weight: Floats | float) -> Floats:
    """The geometric mean of two positive quantities, the second with ``weight``."""
    return values ** (1 - weight) * others**weight


def _wander(rng: np.random.Generator, n: int, n_samples: int, seconds: float) -> Floats:
    """Noise (n, n_samples) of unit variance that forgets itself within some ``seconds``."""
    memory = np.exp(-1 / (seconds * SAMPLING_RATE_HZ))
    kicks = rng.normal(size=(n, n_samples))
    kicks[:, 1:] *= np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], kicks, axis=1)


def _rotation(vector_rad: Floats) -> Floats:
    """The rotation (3, 3) about the direction of a vector by its length (Rodrigues 1840)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector_rad / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
