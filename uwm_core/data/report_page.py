# SPDX-License-Identifier: Apache-2.0
"""The sync report as one self-contained HTML page: no script, no network, no font to load."""

from __future__ import annotations

import base64
import collections
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from uwm_core import __version__
from uwm_core.data.inspect import pick_episodes
from uwm_core.data.plots import Curve, curves, dots
from uwm_core.data.report import EpisodeReport, Report
from uwm_core.data.store import Episode
from uwm_core.embodiment import Embodiment

# Curves of more episodes make a page that no browser likes; the numbers of all are in the table.
MAX_CURVES = 24
MAX_ROWS = 500

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--ink:#1d232b;--faint:#68727f;--rule:#dde2e8;
--state:#1f6feb;--action:#d9730d;--good:#1a7f4b;--bad:#c9372c}
@media(prefers-color-scheme:dark){:root{--back:#14171c;--ink:#e8eaed;--faint:#8a929e;--rule:#2c323b;
--state:#66a3ff;--action:#ffb26b;--good:#5ec98c;--bad:#f06e64}}
body{background:var(--back);color:var(--ink);font:14px/1.5 system-ui,sans-serif;margin:2rem auto;
max-width:1260px;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}
.faint{color:var(--faint)}.bad{color:var(--bad)}.good{color:var(--good)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--faint);text-align:left}td,th{padding:.15rem .8rem .15rem 0}
tr+tr td{border-top:1px solid var(--rule)}td.n,th.n{text-align:right}
.wide{overflow-x:auto}.plots{display:flex;flex-wrap:wrap;gap:.4rem}
details{border-top:1px solid var(--rule);padding:.3rem 0}summary{cursor:pointer}
img{max-width:100%;border-radius:4px}
svg.plot{background:transparent}svg .axis{stroke:var(--rule);fill:none}
svg text{font:10px system-ui,sans-serif;fill:var(--faint)}
svg text.title{font-size:11px;fill:var(--ink)}
svg path.state,svg path.plain{stroke:var(--state);fill:none;stroke-width:1.2}
svg path.action{stroke:var(--action);fill:none;stroke-width:1.2}
svg path.limit{stroke:var(--faint);fill:none;stroke-dasharray:3 3}svg circle{fill:var(--state)}
"""


def page(
    report: Report,
    read: Callable[[int], Episode] | None = None,
    sheet: npt.NDArray[np.uint8] | None = None,
) -> str:
    """The report as HTML.

    Args:
        report: What to show.
        read: Gives an episode's arrays, for its curves; without it there are none.
        sheet: Contact sheet (H, W, 3) uint8.

    Returns:
        The page.
    """
    embodiment = report.embodiment
    name = Path(report.source).name
    sections = [
        _head(report, name),
        _warnings(report),
        _streams(report),
        _over_episodes(report),
        _ranges(report),
        _episodes(report),
        _details(report, embodiment, read),
        _sheet(sheet),
        f'<p class="faint">uwm {__version__}</p>',
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"{''.join(sections)}</body></html>\n"
    )


def save_page(path: Path | str, text: str) -> Path:
    """Write the page; folders that are missing are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers are set right, texts left, and a ``(text, class)`` pair is coloured."""

    def cell(value: object) -> str:
        kind = ""
        if isinstance(value, tuple):
            value, kind = value
        if isinstance(value, float | int):
            kind, value = f"{kind} n", f"{value:.4g}" if isinstance(value, float) else value
        return f'<td class="{kind.strip()}">{_text(value)}</td>'

    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    head = "".join(f"<th>{_text(title)}</th>" for title in heads)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _head(report: Report, name: str) -> str:
    embodiment = report.embodiment
    seconds = report.steps / embodiment.rate_hz
    kinds = collections.Counter(
        f"{entry.record.role}, {entry.record.outcome}" for entry in report.episodes
    )
    counted = "; ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    tasks = collections.Counter(
        entry.record.task or "(no task sentence)" for entry in report.episodes
    )
    told = "; ".join(f"{task} ({count})" for task, count in tasks.most_common(5))
    return (
        f"<h1>{_text(name)}</h1>"
        f"<p>{len(report.episodes)} episodes, {report.steps} steps, {seconds / 60:.1f} min at "
        f"{embodiment.rate_hz:g} Hz, {report.size_bytes / 1e6:.1f} MB. {_text(counted)}.</p>"
        f'<p class="faint">{_text(embodiment.name)}. {_text(embodiment.description)}</p>'
        f"<p>{_text(told)}</p>"
    )


def _warnings(report: Report) -> str:
    by_episode = [
        (entry, sentence)
        for entry in report.episodes
        for sentence in entry.warnings(report.embodiment)
    ]
    if not by_episode:
        measured = any(entry.streams for entry in report.episodes)
        verdict = "Nothing to remark." if measured else "Streams were not measured (imported data)."
        return f'<h2>Warnings</h2><p class="{"good" if measured else "faint"}">{verdict}</p>'
    rows = [(entry.index, (sentence, "bad")) for entry, sentence in by_episode[:MAX_ROWS]]
    left = len(by_episode) - len(rows)
    more = f'<p class="faint">and {left} more; the JSON has all.</p>' if left else ""
    return f"<h2>Warnings</h2>{_table(('episode', 'what'), rows)}{more}"


def _column(report: Report, key: str, field: str) -> npt.NDArray[np.float64]:
    """One number of one stream, per episode; NaN where it was not measured."""
    found = [getattr(entry.streams.get(key), field, np.nan) for entry in report.episodes]
    return np.array(found, np.float64)


def _worst(values: npt.NDArray[np.float64]) -> float:
    return float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else float("nan")


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _streams(report: Report) -> str:
    rows = []
    for key, spec in report.embodiment.streams.items():
        rate = _median(_column(report, key, "rate_hz"))
        gap = _worst(_column(report, key, "gap_max_s"))
        rows.append(
            (
                key,
                spec.topic,
                spec.rate_hz,
                (f"{rate:.1f}", "bad n" if rate < 0.8 * spec.rate_hz else "n"),
                (f"{gap * 1e3:.1f}", "bad n" if gap > spec.max_age_s else "n"),
                _median(_column(report, key, "age_p50_s")) * 1e3,
                _worst(_column(report, key, "age_max_s")) * 1e3,
                _median(_column(report, key, "offset_s")) * 1e3,
                _worst(_column(report, key, "offset_drift_s")) * 1e3,
            )
        )
    heads = (
        "stream", "topic", "Hz wanted", "Hz (median)", "largest gap, ms", "age, ms (median)",
        "oldest used, ms", "clock offset, ms", "drift, ms",
    )  # fmt: skip
    return f"<h2>Streams</h2>{_table(heads, rows)}"


def _over_episodes(report: Report) -> str:
    """A dot per episode, for those measures that tell a bad day from a good one."""
    if len(report.episodes) < 3 or not any(entry.streams for entry in report.episodes):
        return ""
    drawn = []
    for key, spec in report.embodiment.streams.items():
        drawn.append(dots(f"{key}: Hz", _column(report, key, "rate_hz"), expected=spec.rate_hz))
        gaps = _column(report, key, "gap_max_s")
        drawn.append(dots(f"{key}: largest gap, s", gaps, expected=spec.max_age_s))
        drawn.append(dots(f"{key}: clock offset, s", _column(report, key, "offset_s")))
    return f'<h2>Episode by episode</h2><div class="plots">{"".join(drawn)}</div>'


def _ranges(report: Report) -> str:
    rows = [(entry.array, entry.name, entry.low, entry.high) for entry in report.ranges]
    return f"<h2>Ranges</h2>{_table(('array', 'column', 'low', 'high'), rows)}" if rows else ""


def _episodes(report: Report) -> str:
    rows = []
    for entry in report.episodes[:MAX_ROWS]:
        record, found = entry.record, len(entry.warnings(report.embodiment))
        outcome = (record.outcome, "good" if record.outcome == "success" else "bad")
        warned = (str(found), "bad n") if found else ("", "n")
        rows.append(
            (entry.index, record.task, record.role, outcome, entry.duration_s, record.steps,
             warned, record.source)
        )  # fmt: skip
    heads = ("episode", "task", "role", "outcome", "s", "steps", "warnings", "source")
    left = len(report.episodes) - len(rows)
    more = f'<p class="faint">and {left} more</p>' if left else ""
    return f"<h2>Episodes</h2>{_table(heads, rows)}{more}"


def _details(report: Report, embodiment: Embodiment, read: Callable[[int], Episode] | None) -> str:
    if read is None and not any(entry.over_time for entry in report.episodes):
        return ""
    blocks = []
    for number in pick_episodes(len(report.episodes), MAX_CURVES):
        entry = report.episodes[number]
        drawn = _time_plots(entry)
        values = read(entry.index) if read is not None else entry.values
        drawn += _value_plots(embodiment, values) if values is not None else []
        told = "".join(
            f'<p class="bad">{_text(sentence)}</p>' for sentence in entry.warnings(embodiment)
        )
        noted = "".join(f'<p class="faint">{_text(note)}</p>' for note in entry.record.notes)
        told_as = entry.record.task or entry.record.source
        title = f"{entry.index}: {told_as}, {entry.duration_s:.1f} s"
        opened = " open" if len(report.episodes) == 1 else ""
        blocks.append(
            f"<details{opened}><summary>{_text(title)}</summary>{told}{noted}"
            f'<div class="plots">{"".join(drawn)}</div></details>'
        )
    legend = '<p class="faint">Blue: state (or stream). Orange: action.</p>'
    return f"<h2>Over time</h2>{legend}{''.join(blocks)}"


def _time_plots(entry: EpisodeReport) -> list[str]:
    drawn = []
    for key, bins in entry.over_time.items():
        seconds = np.arange(len(bins.messages), dtype=np.float64)
        drawn.append(
            curves(f"{key}: messages/s", [Curve(seconds, bins.messages.astype(np.float64))])
        )
        drawn.append(curves(f"{key}: largest gap, s", [Curve(seconds, bins.gap_s)]))
        if np.isfinite(bins.offset_s).any():
            drawn.append(curves(f"{key}: clock offset, s", [Curve(seconds, bins.offset_s)]))
    return drawn


def _value_plots(embodiment: Embodiment, episode: Episode) -> list[str]:
    """A plot per state column, with the action of the same name over it, then the other actions."""
    time_s = (episode.stamp_ns - episode.stamp_ns[0]) / 1e9
    state = np.concatenate(
        [np.empty((len(time_s), 0), np.float32), *episode.state.values()], axis=1
    )
    actions = dict(zip(embodiment.action_names, episode.action.T, strict=True))
    drawn = []
    for name, column in zip(embodiment.state_names, state.T, strict=True):
        lines = [Curve(time_s, column, "state")]
        if name in actions:
            lines.append(Curve(time_s, actions.pop(name), "action"))
        drawn.append(curves(name, lines))
    return drawn + [curves(name, [Curve(time_s, y, "action")]) for name, y in actions.items()]


def _sheet(sheet: npt.NDArray[np.uint8] | None) -> str:
    if sheet is None:
        return ""
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<h2>Contact sheet</h2><img alt="contact sheet" src="data:image/jpeg;base64,{data}">'
