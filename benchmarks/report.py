"""What `compare.py` measured, as a table, as a picture, and on a page."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def engines(rows: Rows) -> list[str]:
    return list(dict.fromkeys(e for row in rows for e in row["ms"]))


def ratio(row: dict[str, Any], engine: str) -> float | None:
    """The peer's time / graphc's: above 1, graphc is faster."""
    ms = row["ms"]
    return ms[engine] / ms["graphc"] if engine in ms and "graphc" in ms else None


def table(rows: Rows) -> str:
    """A Markdown table: times, ratios, the limit, and the largest difference of results."""
    peers = [e for e in engines(rows) if e != "graphc"]
    head = ["network", "threads", "GFLOP", "limit ms", "graphc ms", "of limit"]
    for e in peers:
        head += [f"{e} ms", "ratio"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        ms, own = row["ms"], row["ms"].get("graphc")
        cells = [row["network"], str(row["threads"]), f"{row['gflop']:.3g}", number(row["limit_ms"]), number(own)]
        cells.append(f"{row['limit_ms'] / own:.0%}" if own else "–")
        for e in peers:
            r = ratio(row, e)
            cells += [number(ms.get(e)), "–" if r is None else f"**{r:.2f}**"]
        lines.append(cells)
    paragraphs = ["\n".join("| " + " | ".join(cells) + " |" for cells in lines)]
    summaries = [_summary(rows, e, threads) for threads in sorted({r["threads"] for r in rows}) for e in peers]
    if any(summaries):
        paragraphs.append(f"Geometric means of the ratios: {'; '.join(s for s in summaries if s)}.")
    found = [f"{e} {d:.1e}" for e in engines(rows) if (d := _largest(rows, e)) is not None]
    if found:
        paragraphs.append(f"Largest relative differences from onnxruntime: {', '.join(found)}.")
    return "\n\n".join(paragraphs)


def number(ms: float | None) -> str:
    if ms is None:
        return "–"
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 10 else f"{ms:.1f}"


def _largest(rows: Rows, engine: str) -> float | None:
    return max((row["difference"][engine] for row in rows if engine in row["difference"]), default=None)


def _summary(rows: Rows, engine: str, threads: int) -> str:
    found = [r for row in rows if row["threads"] == threads and (r := ratio(row, engine)) is not None]
    if not found:
        return ""
    mean = math.exp(sum(math.log(r) for r in found) / len(found))
    return f"{engine}, {threads} thread{'s' * (threads > 1)}: {mean:.2f} over {len(found)} networks"


def draw(rows: Rows, path: Path) -> None:
    """Bars: the peers' times / graphc's, one group for each network, one panel for each number of threads."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "graphc"
    peers, counts = [e for e in engines(rows) if e != "graphc"], sorted({r["threads"] for r in rows})
    figure = Figure(figsize=(10, 3.2 * len(counts)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(counts), 1, squeeze=False, sharey=True)[:, 0]
    for panel, threads in zip(panels, counts, strict=True):
        shown = [r for r in rows if r["threads"] == threads]
        for k, e in enumerate(peers):
            at = [i + (k - (len(peers) - 1) / 2) * 0.8 / len(peers) for i in range(len(shown))]
            panel.bar(at, [ratio(r, e) or 0 for r in shown], 0.8 / len(peers), label=e)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xticks(range(len(shown)), [r["network"] for r in shown], rotation=30, ha="right")
        panel.set_ylabel("time / graphc's time")
        panel.set_title(f"{threads} thread{'s' * (threads > 1)}: above 1, graphc is faster", fontsize=10)
        panel.grid(axis="y", alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=120, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))


def write_page(found: dict[str, Any], page: Path) -> None:
    """Put machine, limits, table and picture between the marks on the page, in place of those that are there."""
    rows, how = found["rows"], found["how"]
    parts = ["; ".join(f"{k}: {v}" for k, v in found["machine"].items()) + "."]
    parts.append(
        f"{how['rounds']} rounds of {how['seconds']:g} s for each engine; inputs of seed {how['seed']}. "
        + " ".join(_limit(rows, t) for t in sorted({r["threads"] for r in rows}))
    )
    parts.append(table(rows))
    try:
        draw(rows, page.with_suffix(".svg"))
        parts.append(f"![times of the engines over graphc's]({page.with_suffix('.svg').name})")
    except ImportError:
        print("matplotlib is not installed: there is no picture")
    found = [f"{e} does not run {r['network']}: {m.splitlines()[0]}" for r in rows for e, m in r["errors"].items()]
    missing = list(dict.fromkeys(found))
    parts += [f"- {m}" for m in dict.fromkeys(missing)]
    text = page.read_text("utf-8")
    block = f"{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: block, text, flags=re.DOTALL), "utf-8")


def _limit(rows: Rows, threads: int) -> str:
    shown = [r for r in rows if r["threads"] == threads]
    flops, stream = max(r["limit_gflops"] for r in shown), max(r["limit_gbs"] for r in shown)
    return f"Limits of {threads} thread{'s' * (threads > 1)}: {flops:.0f} GFLOP/s, {stream:.1f} GB/s."
