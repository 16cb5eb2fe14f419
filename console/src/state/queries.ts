// The queries that the hub's clients may run.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { api, type Query } from './api.js';

export function useQueries(fits: (query: Query) => boolean = () => true) {
  const queries = useSignal<Query[] | undefined>(undefined);
  const error = useSignal<string | undefined>(undefined);
  useEffect(() => {
    const controller = new AbortController();
    api.queries(controller.signal).then(
      (all) => (queries.value = all.filter(fits)),
      (reason) => { if (!controller.signal.aborted) error.value = (reason as Error).message; },
    );
    return () => controller.abort();
  }, []);
  return { queries, error };
}
