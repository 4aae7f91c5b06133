import { app } from '@azure/functions'
import { stopDarkroom } from '../app.ts'
import './http.ts'
import './image-jobs.ts'
import './image-work.ts'
import './pacer.ts'
import './rescue.ts'

app.hook.appTerminate(() => {
  stopDarkroom()
})
