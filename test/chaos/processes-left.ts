import { execFileSync } from 'node:child_process'

/** Which of these processes, or of what they started, still run. Each stood at the head of a process group. */
export function processesLeft(pids: readonly number[]): readonly number[] {
  const answering = pids.filter((pid) => answers(pid))
  if (answering.length === 0) return []
  // Ended, but not yet taken notice of by the system's first process: that is no life.
  const zombies = /^Z/
  const listed = execFileSync('ps', ['-A', '-o', 'pgid=,stat='], { encoding: 'utf8' })
  const living = new Set(
    listed.split('\n').flatMap((line) => {
      const [group = '', state = ''] = line.trim().split(/\s+/)
      return zombies.test(state) ? [] : [Number(group)]
    }),
  )
  return answering.filter((pid) => living.has(pid))
}

function answers(pid: number): boolean {
  try {
    // Signal 0 only asks. Windows has no groups.
    return process.kill(process.platform === 'win32' ? pid : -pid, 0)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
