import { limits } from '../limits.ts'
import { timing } from '../timing.ts'

/** Slots of the batch that this tick or an earlier one gave; of any batch where it is the empty name. */
export type Recall = { readonly batch: string; readonly epoch: number; readonly at: number }

/** Of too many recalls the oldest are joined into one for all batches: slots are wasted, and none is used that was recalled. */
export function addRecall(recalled: readonly Recall[], recall: Recall): readonly Recall[] {
  const known = recalled.filter(
    ({ batch, at }) => batch !== recall.batch && at > recall.at - timing.recallKnownMs,
  )
  const spare = known.length + 1 - limits.recallsMax
  if (spare <= 0) return [...known, recall]
  const joined = known.slice(0, spare + 1).reduce((all, each) => ({
    batch: '',
    epoch: Math.max(all.epoch, each.epoch),
    at: Math.max(all.at, each.at),
  }))
  return [{ ...joined, batch: '' }, ...known.slice(spare + 1), recall]
}

export function covers(recalled: readonly Recall[], slot: Pick<Recall, 'batch' | 'epoch'>): boolean {
  return recalled.some(({ batch, epoch }) => slot.epoch <= epoch && (batch === slot.batch || batch === ''))
}
