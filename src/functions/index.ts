import { app } from '@azure/functions'
import { stopDarkroom } from '../app.ts'
import { watchExchanges } from './exchange.ts'
import './expiry.ts'
import './batch-work.ts'
import './http.ts'
import './image-jobs.ts'
import './image-work.ts'
import './pacer.ts'
import { guardInvocations } from './programming-model.ts'
import './rescue.ts'
import './webhooks.ts'

// Uploads, results and events go through in pieces; without it the host holds every body whole.
app.setup({ enableHttpStream: true })
watchExchanges()
guardInvocations()

app.hook.appTerminate(() => {
  stopDarkroom()
})
