// Numbers as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const BYTES = ["bytes", "kB", "MB", "GB", "TB"];
const COUNTS = ["", "k", "M", "G", "T"];

/** 1234567 -> "1,234,567" */
export function number(value) {
  return whole.format(value);
}

/** 20236529 -> "20.2 MB" */
export function bytes(value) {
  const [scaled, step] = scale(Math.abs(value), 1000, BYTES.length);
  return `${value < 0 ? "−" : ""}${step ? short.format(scaled) : whole.format(scaled)} ${BYTES[step]}`;
}

/** 2448354 -> "2.45 M" */
export function count(value) {
  const [scaled, step] = scale(Math.abs(value), 1000, COUNTS.length);
  return `${value < 0 ? "−" : ""}${step ? `${short.format(scaled)}\u202f${COUNTS[step]}` : whole.format(scaled)}`;
}

function scale(value, base, steps) {
  let step = 0;
  // 999.6 would be shown as 1,000.
  while (Number(value.toPrecision(3)) >= base && step < steps - 1) {
    value /= base;
    step += 1;
  }
  return [value, step];
}

/** 0.00196 -> "2.0e-3"; what is exactly nothing is "0". */
export function error(value) {
  if (value === 0) return "0";
  return Number.isFinite(value) ? value.toExponential(1) : String(value);
}

/** From before to after: "−2.1 %", or "no change". */
export function change(before, after) {
  if (before === after) return "no change";
  if (before === 0) return "";
  const percent = (100 * (after - before)) / before;
  const size = Math.abs(percent);
  const digits = size >= 10 ? 0 : size >= 0.1 ? 1 : 2;
  const shown = size < 0.01 ? "under 0.01" : size.toFixed(digits);
  return `${percent < 0 ? "−" : "+"}${shown}\u202f%`;
}

/** 93 -> "1 min 33 s" */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${rounded} s`;
  if (rounded < 3600) return `${Math.floor(rounded / 60)} min ${rounded % 60} s`;
  return `${Math.floor(rounded / 3600)} h ${Math.floor((rounded % 3600) / 60)} min`;
}

/** How long ago a time of the service's is. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

/** 1 -> "1 layer", 2 -> "2 layers" */
export function plural(value, word, many = `${word}s`) {
  return `${number(value)} ${value === 1 ? word : many}`;
}

/** "weights without a model" -> "Weights without a model." */
export function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?:)]$/.test(text) ? "" : "."}`;
}
