import { getBatch } from '../http/batches.ts'
import { getBudget, getHealth } from '../http/budget.ts'
import { getImage, getJob, postJob } from '../http/jobs.ts'
import { route } from './route.ts'

route('post-job', { method: 'POST', path: 'v1/jobs' }, postJob)
route('get-job', { method: 'GET', path: 'v1/jobs/{id}' }, getJob)
route('get-image', { method: 'GET', path: 'v1/jobs/{id}/images/{k}' }, getImage)
route('get-batch', { method: 'GET', path: 'v1/batches/{name}' }, getBatch)
route('get-budget', { method: 'GET', path: 'v1/budget' }, getBudget)
route('get-health', { method: 'GET', path: 'healthz', isOpen: true }, getHealth)
