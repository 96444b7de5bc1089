"""Properties are checked without a deadline: a busy machine is no failure, and the draws repeat."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "estimate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("estimate")
