"""lenstronomy as the oracle: its conventions, translated."""

from scipy.special import gammaincinv


def sersic_radius(reff, n):
    """R_sersic at which lenstronomy's profile has the half-light radius ``reff``.

    lenstronomy uses the linear b_n = 1.9992 n - 0.3271, half a per cent off at n = 1; any profile with another b_n is a
    Sersic profile of another radius.
    """
    return reff * ((1.9992 * n - 0.3271) / gammaincinv(2 * n, 0.5)) ** n
