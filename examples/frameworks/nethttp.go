package frameworks

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
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
			status, step := reply(err)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(step)
			return
		}
		fmt.Fprintln(w, phone) // masked
	}
}
