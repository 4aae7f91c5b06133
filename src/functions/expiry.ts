import { app } from '@azure/functions'
import { darkroom, log } from '../app.ts'
import { sweepInputs } from '../pipeline/sweep-inputs.ts'

app.timer('expiry', {
  schedule: '0 17 * * * *',
  handler: async () => {
    const room = await darkroom()
    const removed = await room.files.removeExpired()
    if (removed > 0) log.event('files_removed', { what: 'files', count: removed })
    const dropped = await room.uploads.removeExpired()
    if (dropped > 0) log.event('files_removed', { what: 'uploads', count: dropped })
    const swept = await sweepInputs(room)
    if (swept > 0) log.event('files_removed', { what: 'inputs', count: swept })
  },
})
