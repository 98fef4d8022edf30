package frameworks

import (
	"log"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Gin takes POST /phone with gin.
func Gin(b *Backend) *gin.Engine {
	router := gin.New()
	router.Use(gin.Recovery())
	router.POST("/phone", func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
		var body tap
		if err := c.ShouldBindJSON(&body); err != nil {
			c.JSON(http.StatusBadRequest, gin.H{"error": `send {"code": "..."}`})
			return
		}
		phone, err := b.redeem(c.Request.Context(), body.Code) // not c
		if err != nil {
			log.Print(err)
			c.JSON(reply(err))
			return
		}
		c.JSON(http.StatusOK, gin.H{"phone": phone.String()}) // masked
	})
	return router
}
