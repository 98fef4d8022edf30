package frameworks

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"

	"github.com/wxphone/wxphone"
)

// NetHTTP takes POST /phone with net/http alone.
func NetHTTP(b *Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /phone", phoneHandler(b))
	return mux
}

func phoneHandler(b *Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body tap
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
			http.Error(w, `send {"code": "..."}`, http.StatusBadRequest)
			return
		}
		phone, err := b.redeem(r.Context(), body.Code)
		if err != nil {
			log.Print(err)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(wxphone.HTTPStatus(err))
			_ = json.NewEncoder(w).Encode(map[string]wxphone.Step{"step": wxphone.NextStep(err)})
			return
		}
		fmt.Fprintln(w, phone) // masked
	}
}
