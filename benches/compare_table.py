"""Medians and ratios of what benches/compare measured: to the terminal, to docs/PERFORMANCE.md and to a plot."""

import collections
import statistics
import sys

SERVERS = ["hyper", "larder", "nginx", "haproxy", "varnish"]
ROWS = {
    "hit-1k": "hit, 1 KiB, HTTP/1.1",
    "hit-64k": "hit, 64 KiB",
    "hit-1m": "hit, 1 MiB",
    "hit-gzip": "hit, 64 KiB of text, client takes gzip",
    "pass-1k": "uncacheable, 1 KiB, passed through",
    "h2-1k": "hit, 1 KiB, HTTP/2 cleartext",
}
COLORS = {"hyper": "#9aa0a6", "larder": "#d9480f", "nginx": "#2b8a3e", "haproxy": "#1971c2", "varnish": "#9c36b5"}
BEGIN, END = "<!-- compare: begin -->\n", "<!-- compare: end -->"


def medians(path):
    samples = collections.defaultdict(list)
    for line in open(path):
        row, name, rate, cpu = line.split()
        samples[row, name].append((int(rate), float(cpu)))
    return {key: tuple(map(statistics.median, zip(*values))) for key, values in samples.items()}


def table(found):
    lines = ["| work | " + " | ".join(SERVERS) + " | larder to hyper | larder to the best peer |",
             "|---|" + "---|" * (len(SERVERS) + 2)]
    for row, title in ROWS.items():
        if (row, "larder") not in found:
            continue
        cells = [f"{found[row, s][0]:,.0f} ({found[row, s][1]:.1f})" if (row, s) in found else "–" for s in SERVERS]
        larder = found[row, "larder"][0]
        bound = f"{larder / found[row, 'hyper'][0]:.2f}" if (row, "hyper") in found else "–"
        peers = [found[row, s][0] for s in SERVERS[2:] if (row, s) in found]
        best = f"{larder / max(peers):.2f}" if peers else "–"
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {bound} | {best} |")
    return "\n".join(lines) + "\n"


def plot(found):
    """Horizontal bars, each row scaled to its best."""
    y, parts = 10, []
    for row, title in ROWS.items():
        present = [s for s in SERVERS if (row, s) in found]
        if not present:
            continue
        best = max(found[row, s][0] for s in present)
        parts.append(f'<text x="10" y="{y + 12}" font-weight="bold">{title}</text>')
        y += 20
        for name in present:
            rate = found[row, name][0]
            width = max(1, round(440 * rate / best))
            parts.append(f'<text x="74" y="{y + 11}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="80" y="{y}" width="{width}" height="14" fill="{COLORS[name]}"/>')
            parts.append(f'<text x="{86 + width}" y="{y + 11}">{rate:,.0f}/s</text>')
            y += 18
        y += 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="620" height="{y}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n")


def main(mode, path):
    found = medians(path)
    text = table(found)
    print(text)
    if mode == "write":
        page = open("docs/PERFORMANCE.md").read()
        before, rest = page.split(BEGIN)
        after = rest.split(END, 1)[1]
        open("docs/PERFORMANCE.md", "w").write(before + BEGIN + text + END + after)
        open("docs/performance.svg", "w").write(plot(found))


main(*sys.argv[1:])
