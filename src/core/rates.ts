import { timing } from './timing.ts'

export type Bucket = { readonly at: number; readonly count: number }

/** Things counted within the last minute, or another window, to the width of a bucket. */
export function recentCount(
  buckets: readonly Bucket[],
  now: number,
  windowMs: number = timing.rateWindowMs,
): number {
  return buckets
    .filter(({ at }) => at > now - windowMs && at <= now)
    .reduce((total, bucket) => total + bucket.count, 0)
}

/** Adds to the bucket of a time, and drops buckets that no rate needs any more. */
export function addToBucket(buckets: readonly Bucket[], time: number, count: number): readonly Bucket[] {
  const at = Math.floor(time / timing.rateBucketMs) * timing.rateBucketMs
  const kept = buckets.filter((bucket) => bucket.at !== at && bucket.at > time - 2 * timing.rateWindowMs)
  const present = buckets.find((bucket) => bucket.at === at)?.count ?? 0
  return [...kept, { at, count: present + count }]
}
