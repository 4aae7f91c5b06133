import { isColdWake, jobEnded, jobTaken, neverAtWork } from '../core/budget/at-work.ts'
import { limits } from '../core/limits.ts'

/** Something that an instance has only so much of, like memory. */
export type Share = {
  readonly inUse: () => number
  readonly isFull: () => boolean
  /** Takes the amount if it fits; answers what gives it back, once. */
  readonly take: (amount: number) => (() => void) | undefined
  /** Takes the amount, whether it fits or not. */
  readonly add: (amount: number) => () => void
}

/** The jobs that an instance has in hand, held or running. */
export type JobsInHand = {
  /** A message of work has come, whether or not its job is still to be run. */
  readonly arrived: (now: number) => void
  /** A job is taken; answers what is called when it is over. */
  readonly take: (now: number) => (now: number) => void
  /** The instance is, or was until a minute ago, so full that its messages had to wait for it. */
  readonly isCrowded: (now: number) => boolean
  /** The instance was not there yet when the message became visible. */
  readonly isColdWake: (wakeAt: number) => boolean
}

/** What an instance has in hand, and how much more it can take. Another instance has its own. */
export type Capacity = {
  readonly jobs: JobsInHand
  /** Bytes of the images held for edits. */
  readonly inputs: Share
  /** Bytes of the large requests that are being sent to it. */
  readonly uploads: Share
  /** Synchronous calls that it waits for. */
  readonly syncCalls: Share
  /** Events of webhooks under way to one receiver; undefined: as many as may be. Answers what is called at the end. */
  readonly takeDelivery: (receiver: string) => (() => void) | undefined
  /** Receivers that events are under way to. */
  readonly receivers: () => number
}

/** `jobsAtOnce`: what the functions host lets one instance have in hand. */
export function newCapacity(jobsAtOnce: number): Capacity {
  const deliveries = new Map<string, Share>()
  return {
    jobs: jobsInHand(jobsAtOnce),
    inputs: share(limits.inputsInHandBytesMax),
    uploads: share(limits.uploadsInHandBytesMax),
    syncCalls: share(limits.syncCallsMax),
    takeDelivery(receiver) {
      const own = deliveries.get(receiver) ?? share(limits.deliveriesAtOnce)
      const release = own.take(1)
      if (release === undefined) return undefined
      deliveries.set(receiver, own)
      return () => {
        release()
        if (own.inUse() === 0) deliveries.delete(receiver)
      }
    },
    receivers: () => deliveries.size,
  }
}

function share(most: number): Share {
  let inUse = 0
  function add(amount: number): () => void {
    inUse += amount
    let isOurs = true
    return () => {
      if (isOurs) inUse -= amount
      isOurs = false
    }
  }
  return {
    inUse: () => inUse,
    isFull: () => inUse >= most,
    take: (amount) => (inUse + amount > most ? undefined : add(amount)),
    add,
  }
}

/** From this share of its jobs at once on a host fetches no more messages: those that come next come late. */
const crowdedShare = 2 / 3
/** Messages that waited for a full host are late for so long after it was full. */
const crowdedForMs = 60_000

function jobsInHand(jobsAtOnce: number): JobsInHand {
  let count = 0
  let atWork = neverAtWork
  let crowdedAt = -Infinity
  return {
    arrived(now) {
      atWork = jobTaken(atWork, { now, inHand: count })
    },
    take(now) {
      count += 1
      if (count >= jobsAtOnce * crowdedShare) crowdedAt = now
      return (endedAt) => {
        count -= 1
        atWork = jobEnded(atWork, endedAt)
      }
    },
    isCrowded: (now) => now - crowdedAt < crowdedForMs,
    isColdWake: (wakeAt) => isColdWake(atWork, wakeAt),
  }
}
