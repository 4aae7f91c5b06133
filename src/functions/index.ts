import { app } from '@azure/functions'
import { stopDarkroom } from '../app.ts'
import { watchClients } from './client.ts'
import './expiry.ts'
import './batch-work.ts'
import './http.ts'
import './image-jobs.ts'
import './image-work.ts'
import './pacer.ts'
import './rescue.ts'
import './webhooks.ts'

// Uploads, results and events go through in pieces; without it the host holds every body whole.
app.setup({ enableHttpStream: true })
watchClients()

app.hook.appTerminate(() => {
  stopDarkroom()
})
