import { getBatch, patchBatch, getBatches, postBatch } from '../http/api/batches/batches.ts'
import { postCancel, postPause, postResume, postRetry } from '../http/api/batches/batch-decisions.ts'
import { getBudget, getHealth } from '../http/api/budget.ts'
import { postEstimate } from '../http/api/estimate.ts'
import { getEvents } from '../http/api/batches/events.ts'
import { deleteFile, getFile, getFileContent, listFiles, postFile } from '../http/api/files/files.ts'
import { getHome } from '../http/api/home.ts'
import { postEdit, postGeneration } from '../http/api/images.ts'
import { getImage, getJob, postCancelJob, postJob } from '../http/api/jobs.ts'
import { getBatchJobs } from '../http/api/batches/batch-jobs.ts'
import { getResults } from '../http/api/batches/results.ts'
import { cancelUpload, completeUpload, postUpload, postUploadPart } from '../http/api/files/uploads.ts'
import { route, routeOthers } from './route.ts'

route('post-job', { method: 'POST', path: 'v1/jobs' }, postJob)
route('get-job', { method: 'GET', path: 'v1/jobs/{id}' }, getJob)
route('cancel-job', { method: 'POST', path: 'v1/jobs/{id}/cancel' }, postCancelJob)
route('get-image', { method: 'GET', path: 'v1/jobs/{id}/images/{k}' }, getImage)
route('post-batch', { method: 'POST', path: 'v1/batches' }, postBatch)
route('list-batches', { method: 'GET', path: 'v1/batches' }, getBatches)
route('list-jobs', { method: 'GET', path: 'v1/batches/{name}/jobs' }, getBatchJobs)
route('retry-batch', { method: 'POST', path: 'v1/batches/{name}/retry' }, postRetry)
route('get-results', { method: 'GET', path: 'v1/batches/{name}/results' }, getResults)
route('get-events', { method: 'GET', path: 'v1/batches/{name}/events' }, getEvents)
route('get-batch', { method: 'GET', path: 'v1/batches/{name}' }, getBatch)
route('patch-batch', { method: 'PATCH', path: 'v1/batches/{name}' }, patchBatch)
route('pause-batch', { method: 'POST', path: 'v1/batches/{name}/pause' }, postPause)
route('resume-batch', { method: 'POST', path: 'v1/batches/{name}/resume' }, postResume)
route('cancel-batch', { method: 'POST', path: 'v1/batches/{name}/cancel' }, postCancel)
route('post-file', { method: 'POST', path: 'v1/files' }, postFile)
route('list-files', { method: 'GET', path: 'v1/files' }, listFiles)
route('get-file', { method: 'GET', path: 'v1/files/{id}' }, getFile)
route('get-file-content', { method: 'GET', path: 'v1/files/{id}/content' }, getFileContent)
route('delete-file', { method: 'DELETE', path: 'v1/files/{id}' }, deleteFile)
route('post-upload', { method: 'POST', path: 'v1/uploads', isRepeatable: true }, postUpload)
route(
  'post-upload-part',
  { method: 'POST', path: 'v1/uploads/{id}/parts', isRepeatable: true },
  postUploadPart,
)
route(
  'complete-upload',
  { method: 'POST', path: 'v1/uploads/{id}/complete', isRepeatable: true },
  completeUpload,
)
route('cancel-upload', { method: 'POST', path: 'v1/uploads/{id}/cancel', isRepeatable: true }, cancelUpload)
route('post-edit', { method: 'POST', path: 'v1/images/edits' }, postEdit)
route('post-generation', { method: 'POST', path: 'v1/images/generations' }, postGeneration)
route('post-estimate', { method: 'POST', path: 'v1/estimate' }, postEstimate)
route('get-budget', { method: 'GET', path: 'v1/budget' }, getBudget)
route('get-home', { method: 'GET', path: '', isOpen: true }, getHome)
route('get-health', { method: 'GET', path: 'healthz', isOpen: true }, getHealth)

routeOthers()
