import { app } from '@azure/functions'
import { stopInstance } from '../app.ts'
import { timing } from '../core/timing.ts'
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

// Results and events go out in pieces, and chunked bodies come in pieces. The host holds a body of known length whole all
// the same, before anything of ours is asked: `limits.hostBodyBytesMax` is what it may have.
app.setup({ enableHttpStream: true })
watchExchanges()
guardInvocations()

// A host that ends runs these hooks last, when nothing is left that they could stop. Only a signal to this process comes
// earlier: no call starts from then on, and those under way have as long as the host itself would give them.
app.hook.appTerminate(stopInstance)
process.once('SIGTERM', () => {
  stopInstance()
  setTimeout(() => process.exit(), timing.terminateMs)
})
