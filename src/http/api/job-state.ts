import type { Job } from '../../core/jobs/job.ts'
import type { PhasesListed } from '../../pipeline/batches/batch-jobs.ts'

/** The phases of jobs as users see them: a job that holds a slot is still queued. */
export const jobStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const

export type JobState = (typeof jobStates)[number]

export function stateOf({ phase }: Pick<Job, 'phase'>): JobState {
  return phase.kind === 'waiting' || phase.kind === 'slotted' ? 'queued' : phase.kind
}

export function phasesOf(state: JobState): PhasesListed {
  return state === 'queued' ? ['slotted', 'waiting'] : [state]
}
