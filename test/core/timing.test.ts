import { describe, expect, test } from 'vitest'
import { limits } from '../../src/core/limits.ts'
import { timing } from '../../src/core/timing.ts'

/** Clocks of instances differ by this much at most; Azure keeps them far closer. */
const clockDifferenceMs = 5_000

test('every bound is a number above zero', () => {
  for (const bound of Object.values({ ...limits, ...timing })) expect(bound).toBeGreaterThan(0)
})

describe('the rhythm', () => {
  test('keeps a flow longer than anybody believes in it unseen', () => {
    const latestTickMs = timing.tickMs + timing.tickOverdueMs
    expect(timing.flowKnownMs + latestTickMs + clockDifferenceMs).toBeLessThan(timing.flowLookMs)
    expect(timing.flowLookMs).toBeLessThan(timing.flowIdleMs)
  })

  test('takes no slot for lost while a worker may still hold it', () => {
    expect(timing.leadMaxMs + timing.freshSlotMs).toBeLessThan(timing.slotLostMs)
  })

  test('renews a lease in time for one renewal to fail, and claims within it', () => {
    expect(timing.leaseMs / 2).toBeGreaterThan(clockDifferenceMs)
    expect(timing.claimAheadMs).toBeLessThan(timing.leaseMs / 2)
  })

  test('has its bounds in order', () => {
    expect(timing.leadMinMs).toBeLessThanOrEqual(timing.leadMs)
    expect(timing.leadMs).toBeLessThanOrEqual(timing.leadMaxMs)
    expect(timing.tickMs).toBeLessThan(timing.idleTickMs)
    expect(timing.retryBaseMs).toBeLessThan(timing.retryCeilingMs)
    expect(timing.probeFirstMs).toBeLessThan(timing.probeMaxMs)
    expect(timing.leadQuietMs).toBeLessThan(timing.leadRaisedQuietMs)
    expect(timing.lateMs).toBeLessThan(timing.claimAheadMs)
  })

  test('gives the first slot of an idle pool within its own horizon', () => {
    expect(timing.firstSlotMs).toBeLessThan(timing.leadMinMs + 2 * timing.tickMs)
  })

  test('sums rates over whole buckets', () => {
    expect(timing.rateWindowMs % timing.rateBucketMs).toBe(0)
    expect(timing.faultWindowMs % timing.rateBucketMs).toBe(0)
    expect(timing.faultWindowMs).toBeLessThanOrEqual(timing.rateWindowMs)
  })

  test('gives no request up that is silent on purpose, and all others before the host does', () => {
    expect(timing.syncTotalMs).toBeLessThan(timing.quietMs)
    expect(timing.keepAliveMs).toBeLessThan(timing.quietMs)
    expect(timing.streamStallMs).toBeLessThan(timing.quietMs)
    // Looks are this far apart; the host's own proxy waits for 240 s.
    expect(timing.quietMs + 2 * timing.quietLookMs).toBeLessThan(240_000)
    expect(timing.quietMs % timing.quietLookMs).toBe(0)
  })

  test('lets a job go back to its line rather than hold it longer than its claim', () => {
    expect(timing.freshSlotMs).toBeGreaterThan(timing.claimAheadMs)
    expect(timing.freshSlotMs).toBeLessThan(timing.leadMinMs + 2 * timing.tickMs)
  })
})

describe('the limits', () => {
  test('let a prompt and its index keys into a table row', () => {
    // A property holds 64 KiB of UTF-16, a key 512 characters.
    expect(limits.promptCharsMax * 2).toBeLessThanOrEqual(64 * 1024)
    expect(limits.plainKeyCharsMax + 'msg~'.length + 'wait:'.length + 17 + 1).toBeLessThan(512)
    expect(limits.plainKeyCharsMax).toBeLessThanOrEqual(limits.customIdCharsMax)
  })

  test('let the largest job into one request, even when JSON escapes its every character', () => {
    const { metadataPairsMax: pairs, metadataKeyCharsMax: key, metadataValueCharsMax: value } = limits
    const bytes =
      4 * (limits.promptCharsMax + limits.customIdCharsMax + limits.userCharsMax + pairs * (key + value))
    expect(bytes).toBeLessThan(limits.requestBodyBytesMax)
  })

  test('let a tick into one transaction', () => {
    // Beside the flows stand the tick's own row and the ledgers of a pool.
    expect(limits.flowsPerTickMax + 1).toBeLessThan(limits.transactionEntitiesMax)
  })

  test('let a quoted value stay whole in its message', () => {
    expect(limits.quotedValueCharsMax * 2).toBeLessThan(limits.failureMessageCharsMax)
  })
})
