import { app } from '@azure/functions'
import { darkroom } from '../app.ts'
import { rescue } from '../pipeline/rescue.ts'

app.timer('rescue', {
  schedule: '0 * * * * *',
  handler: async (_timer, context) => {
    const { unslotted, recovered, unknown } = await rescue(await darkroom())
    if (unslotted + recovered + unknown === 0) return
    context.warn(`rescued: ${unslotted} lost slots, ${recovered} with images, ${unknown} of unknown outcome`)
  },
})
