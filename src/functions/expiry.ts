import { app } from '@azure/functions'
import { darkroom } from '../app.ts'
import { sweepInputs } from '../pipeline/sweep-inputs.ts'

app.timer('expiry', {
  schedule: '0 17 * * * *',
  handler: async (_timer, context) => {
    const room = await darkroom()
    const removed = await room.files.removeExpired()
    if (removed > 0) context.info(`removed ${removed} expired file(s)`)
    const dropped = await room.uploads.removeExpired()
    if (dropped > 0) context.info(`removed what ${dropped} upload(s) had left that became no file`)
    const swept = await sweepInputs(room)
    if (swept > 0) context.info(`removed ${swept} image(s) that finished jobs had started from`)
  },
})
