package frameworks

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Chi takes POST /phone with chi, whose handlers are those of net/http.
func Chi(b *Backend) http.Handler {
	router := chi.NewRouter()
	router.Post("/phone", phoneHandler(b))
	return router
}
