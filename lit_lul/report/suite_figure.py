"""The picture of the suite: mean ranks with their intervals."""

from collections.abc import Mapping

from matplotlib.figure import Figure


def draw_ranks(ranks: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> Figure:
    """A panel per probe and protocol, a line per baseline and rule; better is to the left.

    Args:
        ranks: mean rank and bounds of its interval, by panel and name.
    """
    names = list(next(iter(ranks.values())))
    figure = Figure(figsize=(2 + 2.6 * len(ranks), 1 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(ranks), sharey=True, squeeze=False)[0]
    for panel, (title, found) in zip(panels, ranks.items(), strict=True):
        for place, name in enumerate(names):
            mean, low, high = found[name]
            colour = f"C{place % 10}"
            panel.plot([low, high], [place, place], color=colour, linewidth=2)
            panel.plot(mean, place, "o", color=colour)
        panel.set_title(title, fontsize="medium")
        panel.set_xlim(0.5, len(names) + 0.5)
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.supxlabel("mean rank over datasets, 95% interval")
    return figure
