"""Stages, sticky routing, guards and the comparison of two arms. Pure: state in, state out; no clock."""
