/**
 * An id that holds the time at which its thing was made, so that its row in a line of time is found from the id alone.
 * `random` keeps two of one moment apart; only its letters and digits count.
 */
export function timedId(prefix: TimedPrefix, createdAt: number, random: string): string {
  const time = Math.floor(createdAt).toString(36).padStart(timeChars, '0')
  return `${prefix}${time}${random.toLowerCase().replaceAll(/[^0-9a-z]/g, '')}`
}

/** What ids that hold their time begin with. */
type TimedPrefix = 'file-' | 'batch_' | 'upload_'

/** Milliseconds in base 36 take eight characters until 2059. */
const timeChars = 9

/** When the thing was made, in whole milliseconds; undefined for what is no such id. */
export function timeOfId(id: string): number | undefined {
  const time = /^(?:file-|batch_|upload_)(0[0-9a-z]{8})[0-9a-z]{1,48}$/.exec(id)?.[1]
  return time === undefined ? undefined : Number.parseInt(time, 36)
}

/** The ids that Darkroom gives to submitted batches begin so; no job may name such a batch by itself. */
export const submittedBatchPrefix = 'batch_'

export function isSubmitted(batch: string): boolean {
  return batch.startsWith(submittedBatchPrefix)
}
