import { app } from '@azure/functions'
import { darkroom } from '../app.ts'

app.timer('expiry', {
  schedule: '0 17 * * * *',
  handler: async (_timer, context) => {
    const { files } = await darkroom()
    const removed = await files.removeExpired()
    if (removed > 0) context.info(`removed ${removed} expired file(s)`)
  },
})
