/** An answer of the service: when it was asked for and when it came, by this machine's clock, and its `Date`. */
export type DateSeen = {
  readonly sentAt: number
  readonly receivedAt: number
  /** Whole seconds, in epoch milliseconds: the header has no more. */
  readonly serverDate: number
}

/** Between the two lies by how much the service's clock is ahead of this machine's. */
export type OffsetRange = {
  readonly fromMs: number
  readonly toMs: number
  /** By this machine's clock, when it last heard from the service. */
  readonly seenAt: number
}

/** A date without its part of a second. */
const truncatedMs = 1_000

/**
 * Servers may make the header once a second and send it until the next is made (Kestrel does, see
 * aspnet/KestrelHttpServer#220). So a date may be this old beside being truncated, and never too new: an answer that
 * makes a clock look behind is certain, one that makes it look ahead may have an old date.
 */
export const dateHeldMs = 1_000

/** What a bound loses of its say in each millisecond. Crystals drift by up to 0.0002, NTP slews by 0.0005. */
export const loosening = 0.001

/** What the pace forgives: at 0.98 a window of 10 s has 200 ms to spare, at every RPM. */
export const forgivenMs = 200

/** A correction in force ends below this; the distance to where it begins keeps it from going to and fro. */
export const settledMs = 100

/**
 * What is known of the offset after one more answer: the service made its date between our sending and our receiving.
 * Each answer gives a range of two seconds, but where in their seconds they come differs, so what they have in common
 * narrows until its ends (the upper one but for `dateHeldMs`) are a second divided by the number of answers away from
 * the truth. Answers that contradict what was known mean that the clock was set: all begins anew with them.
 */
export function narrowed(before: OffsetRange | undefined, seen: DateSeen): OffsetRange | undefined {
  const { sentAt, receivedAt, serverDate } = seen
  // The clock was set back meanwhile: what this answer says holds for neither of the two times.
  if (receivedAt < sentAt) return before
  const own: OffsetRange = {
    fromMs: serverDate - receivedAt,
    toMs: serverDate + truncatedMs + dateHeldMs - sentAt,
    seenAt: receivedAt,
  }
  if (before === undefined) return own
  const looserMs = Math.abs(receivedAt - before.seenAt) * loosening
  const fromMs = Math.max(before.fromMs - looserMs, own.fromMs)
  const toMs = Math.min(before.toMs + looserMs, own.toMs)
  return fromMs <= toMs ? { fromMs, toMs, seenAt: receivedAt } : own
}

/**
 * What to add to this machine's clock, in whole milliseconds: nothing while the clock may be as good as right, so that a
 * right one is never spoiled. Else the middle of what dates that were not held leave over. One in force stays while it
 * is possible: each change moves the time of everybody who waits.
 */
export function correctionMs(range: OffsetRange, inForceMs: number): number {
  const { fromMs, toMs } = range
  const freshToMs = Math.max(fromMs, toMs - dateHeldMs)
  if (fromMs <= inForceMs && inForceMs <= freshToMs) return inForceMs
  const leftAloneMs = inForceMs === 0 ? forgivenMs : settledMs
  if (fromMs < leftAloneMs && toMs > -leftAloneMs) return 0
  return Math.round((fromMs + freshToMs) / 2)
}
