"""What the figures were measured on."""

import os
import platform


def describe():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "nice": os.nice(0),
    }


def text(machine):
    return (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"load {machine['load']:.1f} at the start, nice {machine['nice']}"
    )
