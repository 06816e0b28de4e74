// The colours of a heat map, as report/pictures.py computes them. Nothing here touches the page.

/**
 * The [red, green, blue] of each value, between anchors of such colours: from the lowest of the
 * values to the highest. A value that is not finite counts as 0.
 */
function heatColors(values, anchors) {
  const known = Array.from(values, (value) => (Number.isFinite(value) ? value : 0));
  const lowest = known.reduce((a, b) => Math.min(a, b));
  const range = known.reduce((a, b) => Math.max(a, b)) - lowest || 1;
  return known.map((value) => {
    const at = ((value - lowest) / range) * (anchors.length - 1);
    const below = Math.min(Math.floor(at), anchors.length - 2);
    return [0, 1, 2].map(
      (i) => anchors[below][i] + (at - below) * (anchors[below + 1][i] - anchors[below][i]),
    );
  });
}

