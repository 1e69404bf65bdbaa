// Writes numbers for people.
//
// Knows nothing of what they count.

/** Write a probability by three decimals, as a terminal shows it, and a tiny one by its power of ten. */
export const probability = (p) =>
  p > 0 && p < 0.0005 ? p.toExponential(1).replace("-", "−") : p.toFixed(3);

/** Write a probability by two decimals, where a terminal shows so many. */
export const rounded = (p) => p.toFixed(2);

/** Write a log-probability; null is minus infinity, which JSON cannot write. */
export const logProbability = (value) => (value == null ? "−∞" : value.toFixed(3).replace("-", "−"));

export const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);

export const count = (value) => (value == null ? "–" : value.toLocaleString("en"));

export function bytes(count) {
  if (count == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  for (; count >= 1000 && power < units.length - 1; power += 1) count /= 1000;
  return `${power ? count.toFixed(1) : count} ${units[power]}`;
}
