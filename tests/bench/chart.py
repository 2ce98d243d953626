"""The chart: CPU seconds and wall of each client, a panel a scenario."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the backend was chosen

OURS, BARE, PEER, WALL = "#1b6ca8", "#8a8a8a", "#c98b3b", "#222222"


def colour(name):
    return OURS if name.startswith("s3vault") else BARE if name.startswith("bare") else PEER


def draw(results, file):
    scenarios = results["scenarios"]
    columns = min(2, len(scenarios))
    rows = -(-len(scenarios) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8 * columns, 3.4 * rows), squeeze=False)
    for axis, scenario in zip(axes.flat, scenarios):
        panel(axis, scenario, results)
    for axis in list(axes.flat)[len(scenarios) :]:
        axis.axis("off")
    title = f"CPU seconds (bars) and wall seconds (dots), medians of {results['rounds']}; MiB: peak memory"
    figure.suptitle(f"{title}\n{results['date'][:10]}, {results['machine']['processor']}", fontsize=11)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.6 / (3.4 * rows)))
    figure.savefig(file, dpi=100)


def panel(axis, scenario, results):
    clients = scenario["clients"]
    names = list(clients)[::-1]
    cpu = [clients[name]["cpu"] for name in names]
    wall = [clients[name]["wall"] for name in names]
    axis.barh(names, cpu, color=[colour(name) for name in names])
    axis.plot(wall, names, "o", color=WALL, markersize=4)
    for name, seconds, dot in zip(names, cpu, wall):
        text = f"  {seconds:.2f} s, {clients[name]['peak_mib']:.0f} MiB"
        axis.text(max(seconds, dot), name, text, va="center", fontsize=8)
    axis.set_xlim(0, 1.35 * max([*cpu, *wall, 0.01]))
    small = scenario["operation"] == "small"
    amount = f"{results['objects']} x 64 KiB" if small else f"{results['size'] / (1 << 20):g} MiB"
    latency = f", {scenario['latency_ms']} ms" if scenario["latency_ms"] else ""
    axis.set_title(f"{scenario['operation']}, {amount}, {'TLS' if scenario['tls'] else 'plain'}{latency}", fontsize=10)
    axis.tick_params(labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
