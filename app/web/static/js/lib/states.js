// The states of a job, as words and as tones.

export const STATES = {
  queued: ["waiting", "quiet"],
  running: ["running", "busy"],
  succeeded: ["fused", "good"],
  failed: ["failed", "bad"],
  canceled: ["canceled", "quiet"],
  expired: ["expired", "quiet"],
};

export const isOver = (job) => job.state !== "queued" && job.state !== "running";
